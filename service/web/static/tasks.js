// The tasks that the service knows: the page asks for them once, and names none itself.
import { useEffect, useState } from "./lib.js";
import { get } from "./api.js";

let asked = null;

function load() {
  asked ??= get("/tasks").then(
    ({ data }) => data,
    (error) => {
      asked = null; // to be asked again
      throw error;
    },
  );
  return asked;
}

// All tasks and their variants; empty until the answer has come.
export function useTasks() {
  const [tasks, setTasks] = useState([]);
  useEffect(() => {
    load().then(setTasks, () => undefined);
  }, []);
  return tasks;
}

// The task of a resolved spec, or of the variant that its problem_type names.
export const taskOf = (tasks, { task, problem_type: type }) =>
  tasks.find((entry) => entry.name === task && (!type || entry.problem_type === type));

// The fields of an input to predict: the first alternative whose columns the spec names.
export const inputsOf = (task, { dataset }) =>
  task?.inputs.find((fields) => fields.every(({ name }) => dataset[name] !== null && dataset[name] !== undefined));
