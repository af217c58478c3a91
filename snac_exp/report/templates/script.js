"use strict";
document.documentElement.classList.add("scripted");

/* Charts: a reading cursor under the pointer or the arrow keys. */
const short = (value) => {
  if (value === null) return "not finite";
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2).replace("e+", "e") : String(Number(value.toPrecision(4)));
};
for (const chart of document.querySelectorAll(".chart")) {
  const points = JSON.parse(chart.querySelector("script").textContent);
  const plot = chart.querySelector(".plot"), reads = [...chart.querySelectorAll(".legend b")];
  const usual = reads.map((read) => read.textContent), [low, high] = points.x;
  const every = [...new Set(points.lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const cursor = document.createElement("div"), label = document.createElement("span");
  cursor.className = "cursor"; cursor.hidden = true; cursor.append(label); plot.append(cursor);
  let place = -1;
  const nearest = (values, x) => {
    let best = 0;
    for (let i = 1; i < values.length; i += 1) if (Math.abs(values[i] - x) < Math.abs(values[best] - x)) best = i;
    return best;
  };
  const show = (x) => {
    const share = (x - low) / (high - low);
    cursor.hidden = false; cursor.style.left = `${100 * share}%`; label.textContent = `${plot.dataset.x} ${Math.round(x).toLocaleString("en")}`;
    label.style.transform = `translateX(-${Math.round(100 * share)}%)`;
    points.lines.forEach((line, index) => { if (reads[index]) reads[index].textContent = short(line.y[nearest(line.x, x)]); });
  };
  const hide = () => { cursor.hidden = true; place = -1; reads.forEach((read, index) => { read.textContent = usual[index]; }); };
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    place = nearest(every, low + (high - low) * (event.clientX - box.left) / box.width);
    show(every[place]);
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -every.length, End: every.length }[event.key];
    if (move === undefined) { if (event.key === "Escape") hide(); return; }
    event.preventDefault();
    place = Math.max(0, Math.min(every.length - 1, place < 0 ? (move < 0 ? every.length - 1 : 0) : place + move));
    show(every[place]);
  });
}

/* Listening: one sound at a time, and another one takes over at the same moment. */
let playing = null;
for (const grid of document.querySelectorAll(".clip-grid")) {
  const stage = grid.querySelector(".stage");
  if (!stage) continue;
  const view = stage.querySelector(".view"), head = stage.querySelector(".head");
  const start = stage.querySelector("[data-play]"), loop = stage.querySelector("[data-loop]");
  const now = stage.querySelector(".now"), clock = stage.querySelector("time");
  const rows = [...grid.querySelectorAll("tbody tr")].map((row) => [...row.querySelectorAll(".cell")]);
  const cells = rows.flat(), total = Number(grid.dataset.seconds);
  const sound = (cell) => cell.parentElement.querySelector("audio");
  let cell = cells[0];
  let image = null;
  if (cell.querySelector("img")) { image = document.createElement("img"); view.prepend(image); }
  const draw = () => {
    const at = sound(cell).currentTime;
    head.hidden = at === 0;
    head.style.left = `${Math.min(100, 100 * at / total)}%`;
    clock.textContent = `${at.toFixed(2)} s`;
    if (!sound(cell).paused) requestAnimationFrame(draw);
  };
  const choose = (next) => {
    const before = sound(cell), going = !before.paused, at = before.currentTime;
    cells.forEach((each) => each.setAttribute("aria-pressed", String(each === next)));
    now.textContent = next.dataset.name; now.className = `now ${next.dataset.tint}`;
    if (image) { const picture = next.querySelector("img"); image.src = picture.src; image.alt = picture.alt; }
    if (next !== cell) { before.pause(); cell = next; sound(cell).currentTime = Math.min(at, sound(cell).duration || at); if (going) play(); }
    draw();
  };
  const play = () => {
    if (playing && playing !== sound(cell)) playing.pause();
    playing = sound(cell); playing.loop = loop.getAttribute("aria-pressed") === "true";
    playing.play().catch((error) => { if (error.name !== "AbortError") clock.textContent = error.message; });
  };
  const toggle = () => { if (sound(cell).paused) play(); else sound(cell).pause(); };
  const seek = (seconds) => { sound(cell).currentTime = Math.max(0, Math.min(total, seconds)); draw(); };
  for (const each of cells) {
    each.setAttribute("aria-pressed", "false");
    each.addEventListener("click", () => { if (each === cell && !sound(cell).paused) toggle(); else { choose(each); play(); } });
    const audio = sound(each);
    audio.addEventListener("play", () => { start.textContent = "Pause"; requestAnimationFrame(draw); });
    audio.addEventListener("pause", () => { start.textContent = "Play"; draw(); });
    audio.addEventListener("seeked", draw);
  }
  start.addEventListener("click", toggle);
  loop.addEventListener("click", () => {
    const on = loop.getAttribute("aria-pressed") !== "true";
    loop.setAttribute("aria-pressed", String(on)); sound(cell).loop = on;
  });
  const point = (event) => { const box = view.getBoundingClientRect(); seek(total * (event.clientX - box.left) / box.width); };
  view.addEventListener("pointerdown", point);
  grid.addEventListener("keydown", (event) => {
    const row = rows.findIndex((each) => each.includes(cell)), column = rows[row].indexOf(cell);
    const near = (other, at) => other && other[Math.min(at, other.length - 1)];
    const next = { ArrowLeft: rows[row][column - 1], ArrowRight: rows[row][column + 1], ArrowUp: near(rows[row - 1], column), ArrowDown: near(rows[row + 1], column) }[event.key];
    if (next) { event.preventDefault(); choose(next); if (grid.querySelector("table").contains(document.activeElement)) next.focus(); }
    else if (event.key === " " && event.target === view) { event.preventDefault(); toggle(); }
  });
  choose(cell);
}

/* Blind listening: the key stays shut until it is asked for. */
for (const quiz of document.querySelectorAll(".quiz")) {
  const key = JSON.parse(atob(quiz.dataset.key)), verdict = quiz.querySelector(".verdict");
  const open = (answer) => {
    const said = answer ? (answer === key.x ? `Right, X is ${key.x}. ` : `No, X is ${key.x}. `) : `X is ${key.x}. `;
    verdict.textContent = said + Object.entries(key.letters).map(([letter, name]) => `${letter} = ${name}`).join("; ");
    quiz.querySelectorAll("button").forEach((button) => { button.disabled = true; });
  };
  quiz.querySelectorAll("button").forEach((button) => button.addEventListener("click", () => open(button.dataset.answer)));
}

/* Tables: sorted by a click on a column's head. */
for (const button of document.querySelectorAll("th button[data-sort]")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0], column = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "ascending";
    const value = (row) => { const text = row.cells[column].dataset.value; return text === undefined || text === "" ? null : Number(text); };
    const sorted = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return down ? y - x : x - y;
    });
    head.parentElement.querySelectorAll("th").forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...sorted);
  });
}
