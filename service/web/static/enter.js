// Signs in and then replaces this page, so that going back does not lead to the used link. A form's submission would
// add an entry to the browser's history whenever the page has finished loading first.
const HOUR = 3_600_000; // milliseconds
const STORE = "adamss-asked"; // of signin.js: when, and which address

// What the browser asked for before it was shown the sign-in page, if that is not long ago; else the first page.
function asked() {
  try {
    const [time, path] = JSON.parse(localStorage.getItem(STORE));
    localStorage.removeItem(STORE);
    const address = new URL(path, location.origin);
    return Date.now() - time < HOUR && address.origin === location.origin ? address.href : "/";
  } catch {
    return "/"; // nothing was asked for
  }
}

const form = document.querySelector("form");
form.elements.code.value = new URLSearchParams(location.search).get("code");
const signedIn = await fetch("/signin", {
  method: "POST",
  body: new URLSearchParams(new FormData(form)),
  redirect: "manual",
});
if (signedIn.type === "opaqueredirect") location.replace(asked());
else form.submit(); // the answer is a page that says why the link was refused
