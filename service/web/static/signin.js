// Keeps the view's address, which stands after # and is not sent: a redirect takes it over from the form's own address.
const form = document.querySelector("form");
form.action = `/signin${location.hash}`;
// So does a sign-in link, if one is followed instead; enter.js reads it. At /signin a link or a key was refused.
if (location.pathname !== "/signin") localStorage.setItem("adamss-asked", JSON.stringify([Date.now(), form.elements.next.value + location.hash]));
