// Signs in and then replaces this page, so that going back does not lead to the used link. A form's submission would
// add an entry to the browser's history whenever the page has finished loading first.
const form = document.querySelector("form");
form.elements.code.value = new URLSearchParams(location.search).get("code");
const signedIn = await fetch("/signin", {
  method: "POST",
  body: new URLSearchParams(new FormData(form)),
  redirect: "manual",
});
if (signedIn.type === "opaqueredirect") location.replace("/");
else form.submit(); // the answer is a page that says why the link was refused
