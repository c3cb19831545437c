// Keeps the view's address, which stands after # and is not sent: a redirect takes it over from the form's own address.
const form = document.querySelector("form");
form.action = `/signin${location.hash}`;
