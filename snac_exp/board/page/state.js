/* What is shown and how: kept in the address, so that a reload and a bookmark show the same. */
const EMPTY = { view: "runs", sort: "updated", down: true, page: 0, text: "", recipe: "", tag: "", override: "", states: [], columns: [], chosen: [], charts: null, log: false };
export const MOST_CHOSEN = 24;
export const MOST_COLUMNS = 12;

const LISTS = ["states", "columns", "chosen", "charts"];

const read = () => {
  const given = new URLSearchParams(location.hash.slice(1)), found = structuredClone(EMPTY);
  for (const key of Object.keys(EMPTY)) {
    if (!given.has(key)) continue;
    if (LISTS.includes(key)) found[key] = given.getAll(key).filter(Boolean).slice(0, key === "chosen" ? MOST_CHOSEN : MOST_COLUMNS);
    else if (typeof EMPTY[key] === "boolean") found[key] = given.get(key) === "true";
    else if (typeof EMPTY[key] === "number") found[key] = Math.max(0, Math.floor(Number(given.get(key))) || 0);
    else found[key] = given.get(key);
  }
  if (!["runs", "compare"].includes(found.view)) found.view = "runs";
  return found;
};

export const state = read();

const write = () => {
  const said = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (LISTS.includes(key)) {
      if (value !== null && value.length === 0 && key === "charts") said.append(key, "");
      for (const item of value ?? []) said.append(key, item);
    } else if (value !== EMPTY[key]) said.set(key, String(value));
  }
  return `#${said}`;
};

const listeners = [];
export const onChange = (act) => listeners.push(act);

/* A change of view is a step that the browser's Back undoes; other changes are not. */
export const change = (values) => {
  const step = values.view !== undefined && values.view !== state.view;
  Object.assign(state, values);
  history[step ? "pushState" : "replaceState"](null, "", write());
  for (const act of listeners) act();
};

addEventListener("popstate", () => {
  Object.assign(state, read());
  for (const act of listeners) act();
});

export const hasFilters = () => Boolean(state.text || state.recipe || state.tag || state.override || state.states.length);
export const noFilters = { text: "", recipe: "", tag: "", override: "", states: [], page: 0 };
