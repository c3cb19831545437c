// The title of the tab: of a view at once, then by the name of what it shows.
import { useEffect } from "./lib.js";
import { ApiError } from "./api.js";

export function setTitle(text) {
  document.title = `${text} · AdaMSS`;
}

// what: the kind of thing, such as "Job"; name: null until it is known; problem: why it is not.
export function useTitle(what, name, problem) {
  const isMissing = problem instanceof ApiError && problem.status === 404;
  useEffect(() => setTitle(name ?? (isMissing ? `${what} not found` : what)), [what, name, isMissing]);
}
