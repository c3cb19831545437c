// The service's tasks, fetched once: the page names no task itself.
import { useEffect, useState } from "./lib.js";
import { get } from "./api.js";
import { number } from "./format.js";

let request = null;

function load() {
  request ??= get("/tasks").then(
    ({ data }) => data,
    (error) => {
      request = null; // allows another attempt
      throw error;
    },
  );
  return request;
}

// All tasks and their variants; empty until loaded.
export function useTasks() {
  const [tasks, setTasks] = useState([]);
  useEffect(() => {
    load().then(setTasks, () => undefined);
  }, []);
  return tasks;
}

// The task, or its variant by problem_type, of a resolved spec.
export const taskOf = (tasks, { task, problem_type: type }) =>
  tasks.find((entry) => entry.name === task && (!type || entry.problem_type === type));

// The base models that can do a task and are there, the one that is usual for it first.
export function ableModels(models, tasks, task) {
  const able = models.filter((model) => model.status === "ready" && !model.problem && (!task || model.tasks.includes(task)));
  const usual = tasks.filter((entry) => entry.name === task).map((entry) => entry.default_base_model);
  return able.sort((one, other) => usual.includes(other.name) - usual.includes(one.name));
}

// The metric that chooses a job's checkpoints, as its task describes it; undefined until the tasks are loaded.
export const metricOf = (tasks, job) => taskOf(tasks, job.resolved.spec)?.metrics.find((one) => one.name === job.best_metric?.name);

// The parts of an answer with their texts, the main one first.
export const partsOf = (task, answer) => task.answer.map((part) => ({ title: part.title, text: partText(part, answer[part.name]) }));

function partText({ decimals, separator }, value) {
  if (Array.isArray(value)) return value.map((entry) => entry ?? "–").join(separator);
  if (typeof value === "number") return decimals === null ? number(value, 5) : value.toFixed(decimals);
  return value ?? "–";
}

// The fields of an input to predict: the first alternative whose columns the spec names.
export const inputsOf = (task, { dataset }) =>
  task?.inputs.find((fields) => fields.every(({ name }) => dataset[name] !== null && dataset[name] !== undefined));
