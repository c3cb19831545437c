// Submits while the page still loads, so that the next page replaces this one in the browser's history.
const form = document.querySelector("form");
form.elements.code.value = new URLSearchParams(location.search).get("code");
form.submit();
