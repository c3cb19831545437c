// While the page still loads, so that the browser puts the next page in its place and not after it.
document.querySelector("form").submit();
