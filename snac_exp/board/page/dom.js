/* Elements and numbers. What a run says becomes text of an element, never markup. */
export const $ = (id) => document.getElementById(id);

export const make = (tag, properties = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

export const svg = (tag, properties = {}, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

const minus = (text) => text.replace("-", "\u2212");

export const number = (value, digits = 4) => {
  if (value === null || value === undefined) return "";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e7) return minus(value.toExponential(2).replace("e+", "e").replace("e-", "e\u2212"));
  const before = Math.max(1, Math.floor(Math.log10(size)) + 1), after = Math.max(0, digits - before);
  return minus(value.toLocaleString("en", { minimumFractionDigits: after, maximumFractionDigits: after }));
};

export const whole = (value) => (value === null || value === undefined ? "" : value.toLocaleString("en"));

export const duration = (seconds) => {
  if (seconds === null || seconds === undefined) return "";
  const all = Math.round(seconds), two = (part) => String(part).padStart(2, "0");
  const days = Math.floor(all / 86400), hours = Math.floor(all / 3600) % 24, minutes = Math.floor(all / 60) % 60;
  if (days) return `${days} d ${hours} h`;
  return `${hours}:${two(minutes)}:${two(all % 60)}`;
};

export const ago = (seconds) => {
  if (seconds < 60) return "now";
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  return "";
};

const MARKS = { finished: "✓", failed: "✕", lost: "✕", cancelled: "✕", unreadable: "!", running: "●", preempted: "❙❙", pruned: "✂" };

export const badge = (state) => {
  const mark = make("span", { ariaHidden: "true", textContent: MARKS[state] ?? "○" });
  return make("span", { className: state in MARKS || state === "queued" ? `state ${state}` : "state" }, mark, state);
};

/* The stroke of a chosen run: its colour, and how it is dashed. */
export const COLOURS = 7;
export const tintOf = (place) => `c${1 + (place % COLOURS)} d${Math.floor(place / COLOURS)}`;
export const sample = () => svg("svg", { viewBox: "0 0 24 8", "aria-hidden": "true" }, svg("path", { class: "curve", d: "M0 4H24" }));

/* The choices of a select, its own first one kept. */
export const fill = (select, values, names = (value) => value) => {
  const known = [...select.options].slice(1).map((option) => option.value), chosen = select.value;
  if (known.length === values.length && known.every((value, place) => value === values[place])) return;
  select.replaceChildren(select.options[0], ...values.map((value) => make("option", { value, textContent: names(value) })));
  select.value = values.includes(chosen) ? chosen : "";
};
