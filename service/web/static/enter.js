// While the page still loads, so that the browser puts the next page in its place and not after it.
const form = document.querySelector("form");
form.elements.code.value = new URLSearchParams(location.search).get("code");
form.submit();
