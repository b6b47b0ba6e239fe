// Two pictures: units over time, and one unit over a training.

const BAND = 18; // pixels of a unit in the heat map

const heat = { rows: [], cell: 1, canvas: document.querySelector("#heat canvas"), box: $("heat") };

// A picture of one pixel a number, `colour(row, column)` being a level.
function pixels(columns, rows, colour) {
  const image = new ImageData(Math.max(1, columns), Math.max(1, rows));
  const palette = PALETTES[theme()];
  for (let row = 0, at = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, at += 4) {
      const level = colour(row, column);
      image.data.set(level < 0 ? BLANK[theme()] : palette[level], at);
      image.data[at + 3] = 255;
    }
  }
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// The page of the list that the unit is on, so that going to the next unit does not move the rows.
function heatRows(view) {
  const entries = listed(view);
  const most = innerWidth < 640 ? 12 : 20;
  const place = Math.max(0, entries.findIndex((entry) => entry.unit === view.unit));
  const first = Math.min(Math.floor(place / most) * most, Math.max(0, entries.length - most));
  return entries.slice(first, first + most);
}

function showHeat() {
  const view = active();
  const run = runOf(view);
  const layer = layerOf(view);
  const width = heat.box.clientWidth;
  heat.rows = heatRows(view);
  heat.cell = state.whole ? width / run.steps : run.spaced ? 15 : 10;
  const legend = state.whole ? 4 : run.spaced ? 72 : 20;
  const height = BAND * heat.rows.length + legend;
  heat.box.firstElementChild.style.width = `${Math.floor(heat.cell * run.steps)}px`;
  heat.box.firstElementChild.style.height = `${height}px`;
  const left = state.whole ? 0 : heat.box.scrollLeft;
  const first = state.whole ? 0 : Math.floor(left / heat.cell);
  const last = state.whole ? run.steps : Math.min(run.steps, Math.ceil((left + width) / heat.cell));
  const pen = fitCanvas(heat.canvas, width, height);
  const columns = Math.min(last - first, state.whole ? Math.max(1, Math.floor(width)) : Infinity);
  const scales = heat.rows.map(({ place }) => scaleOf(layer, place));
  const mean = (place, from, to) => { // of several steps where a pixel has to stand for them
    let sum = 0;
    for (let step = from; step < to; step++) sum += layer.value(place, step);
    return sum / (to - from);
  };
  const bound = (column) => first + Math.floor((column * (last - first)) / columns);
  const image = pixels(columns, heat.rows.length, (row, column) =>
    levelOf(mean(heat.rows[row].place, bound(column), bound(column + 1)), scales[row]));
  pen.imageSmoothingEnabled = false;
  const start = first * heat.cell - left;
  if (heat.rows.length) pen.drawImage(image, start, 0, (last - first) * heat.cell, BAND * heat.rows.length);
  showHeatMarks(pen, view, left, height - legend);
  if (!state.whole) showHeatSymbols(pen, run, first, last, left, height - legend);
  showHeatNames(view);
}

function showHeatMarks(pen, view, left, bottom) {
  const style = getComputedStyle(heat.box);
  pen.strokeStyle = style.color;
  pen.lineWidth = 1.5;
  const at = view.step * heat.cell - left;
  pen.strokeRect(at - 0.5, 0.75, Math.max(heat.cell, 2) + 1, bottom - 1.5);
  const row = heat.rows.findIndex((entry) => entry.unit === view.unit);
  if (row >= 0) pen.strokeRect(0.75, BAND * row + 0.25, heat.box.clientWidth - 1.5, BAND - 0.5);
  if (!view.stretch) return;
  const [from, to] = view.stretch;
  pen.fillStyle = style.accentColor;
  pen.fillRect(from * heat.cell - left, bottom + 1, (to + 1 - from) * heat.cell, 3);
}

function showHeatSymbols(pen, run, first, last, left, bottom) {
  const style = getComputedStyle(heat.box);
  pen.fillStyle = style.color;
  pen.font = `11px ${style.fontFamily}`;
  pen.textAlign = run.spaced ? "left" : "center";
  for (let step = first; step < last; step++) {
    const text = readable(run.symbols[step], run.spaced ? 9 : 1).replace(/(.)…$/u, run.spaced ? "$1…" : "$1");
    const at = (step + 0.5) * heat.cell - left;
    pen.save();
    pen.translate(at, bottom + (run.spaced ? 8 : 15));
    if (run.spaced) pen.rotate(Math.PI / 2);
    pen.fillText(text === " " ? "·" : text, 0, run.spaced ? 4 : 0);
    pen.restore();
  }
}

function showHeatNames(view) {
  $("heat-rows").replaceChildren(...heat.rows.map(({ unit, note }) => {
    const name = made("div", { class: unit === view.unit ? "chosen" : null });
    name.append(made("b", { text: unit }), quoted(note?.concept ?? "", { class: "concept" }));
    return pressed(name, () => choose({ unit }));
  }));
}

function bringColumn(step) {
  const at = step * heat.cell;
  const { scrollLeft, clientWidth } = heat.box;
  if (state.whole || (at >= scrollLeft + 20 && at <= scrollLeft + clientWidth - 40)) return;
  heat.box.scrollLeft = at - clientWidth / 3;
}

function underHeat(event) {
  const box = heat.canvas.getBoundingClientRect();
  const left = state.whole ? 0 : heat.box.scrollLeft;
  const step = Math.floor((event.clientX - box.left + left) / heat.cell);
  const entry = heat.rows[Math.floor((event.clientY - box.top) / BAND)];
  return { entry, step: step >= 0 && step < runOf(active()).steps ? step : null };
}

// ---- the film

function showFilm() {
  const view = active();
  const { film } = runOf(view);
  $("film").hidden = !film;
  if (!film) return;
  const isIn = Boolean(filmOf(view));
  const slider = $("checkpoint");
  slider.max = film.taken;
  slider.disabled = !isIn;
  slider.value = view.film ?? film.taken;
  const name = checkpointName(film, view, isIn);
  $("checkpoint-name").textContent = name;
  slider.setAttribute("aria-valuetext", name);
  $("strip").hidden = !isIn;
  if (!isIn) return;
  const place = film.place.get(view.unit);
  const scale = scaleOf(film, place);
  const [width, high] = [$("film").clientWidth, Math.max(3, Math.min(9, Math.floor(120 / film.taken)))];
  const pen = fitCanvas($("strip"), width, high * film.taken);
  pen.imageSmoothingEnabled = false;
  const image = pixels(film.seen, film.taken, (row, column) =>
    levelOf(film.value(place, row * film.seen + column), scale));
  pen.drawImage(image, 0, 0, width, high * film.taken);
  pen.strokeStyle = getComputedStyle($("strip")).color;
  if (view.film !== null) pen.strokeRect(0.5, high * view.film + 0.5, width - 1, high - 1);
}

function checkpointName(film, view, isIn) {
  if (!isIn) return `has ${film.units.length} units of ${readable(film.field)}, and not this one (find “film”)`;
  if (view.film === null) return "the network as it is now";
  return `checkpoint ${view.film + 1} of ${film.taken}, step ${whole(film.checkpoints[view.film])}`;
}

function clickStrip(event) {
  const { film } = runOf(active());
  const box = $("strip").getBoundingClientRect();
  const part = (share, count) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
  const checkpoint = part((event.clientY - box.top) / box.height, film.taken);
  choose({ film: checkpoint, step: film.steps[part((event.clientX - box.left) / box.width, film.seen)] });
}
