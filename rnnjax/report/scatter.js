// Members as dots in the plane of two columns.

const MARGIN = { left: 62, right: 14, top: 12, bottom: 42 };
const scatter = {
  box: $("scatter"), lines: $("scatter").querySelector(".lines"), marks: $("scatter").querySelector(".marks"),
  at: null, brush: null,
};

function layScatter() {
  const [x, y] = [columnOf(state.x), columnOf(state.y)];
  const { clientWidth: width, clientHeight: height } = scatter.box;
  const inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
  const axes = [axisOf(x, inner.width < 330 ? 3 : 5), axisOf(y)];
  const pad = 8; // between a dot at the end of an axis and the frame
  const across = (share) => MARGIN.left + pad + share * (inner.width - 2 * pad);
  const up = (share) => MARGIN.top + pad + (1 - share) * (inner.height - 2 * pad);
  scatter.at = {
    x, y, axes, width, height, inner, across, up,
    shares: (px, py) => [
      (px - MARGIN.left - pad) / (inner.width - 2 * pad), 1 - (py - MARGIN.top - pad) / (inner.height - 2 * pad),
    ],
    xs: spreadOut(sharesOn(x, axes[0]), axes[0], across),
    ys: spreadOut(sharesOn(y, axes[1]), axes[1], up),
  };
}

// Dots of the same listed value side by side, so that they do not hide each other.
function spreadOut(shares, axis, place) {
  const step = axis.kind === "listed" ? Math.abs(place(1) - place(0)) / Math.max(1, axis.count - 1) : 0;
  const reach = Math.min(40, 0.5 * step);
  return Float32Array.from(shares, (share, row) => place(share) + reach * (((row * 0.618034) % 1) - 0.5));
}

const isPlaced = (row) => !Number.isNaN(scatter.at.xs[row]) && !Number.isNaN(scatter.at.ys[row]);

function showScatter() {
  const { xs, ys, x, y, width, height } = scatter.at;
  const levels = levelsOf(columnOf(state.colour));
  const palette = paletteOf(columnOf(state.colour));
  const pen = fitCanvas(scatter.lines, width, height);
  drawFrame(pen);
  const grey = inksOf(scatter.lines).rest;
  const rows = fromWeak(kept.rows).filter(isPlaced);
  const radius = rows.length > 4000 ? 1.6 : rows.length > 800 ? 2.2 : 3.2;
  const dots = (which, colour, alpha, size) => {
    Object.assign(pen, { fillStyle: colour, globalAlpha: alpha });
    pen.beginPath();
    for (const row of which) {
      pen.moveTo(xs[row] + size, ys[row]);
      pen.arc(xs[row], ys[row], size, 0, 2 * Math.PI);
    }
    pen.fill();
  };
  const rest = leftOut().filter(isPlaced);
  for (let at = 0; at < rest.length; at += 500) dots(rest.subarray(at, at + 500), grey, 0.35, radius * 0.8);
  for (let from = 0, to; from < rows.length; from = to) { // one path for each colour, in pieces that stay fast
    to = from + 1;
    while (to < rows.length && to - from < 500 && levels[rows[to]] === levels[rows[from]]) to += 1;
    dots(rows.subarray(from, to), colourIn(palette, levels[rows[from]]), 0.8, radius);
  }
  const lacking = kept.rows.length - rows.length;
  const words = lacking ? `${whole(lacking)} without a value are not shown.` : "Drag to keep what is in a rectangle.";
  $("unplaced").textContent = words;
  scatter.lines.setAttribute("aria-label",
    `${whole(rows.length)} members as dots: ${readable(x.name, 60)} across, ${readable(y.name, 60)} up`);
}

function drawFrame(pen) {
  const { x, y, axes, width, height, inner, across, up } = scatter.at;
  const ink = inksOf(scatter.lines);
  pen.font = `11px ${ink.font}`;
  Object.assign(pen, { lineWidth: 1, strokeStyle: ink.rule, fillStyle: ink.text });
  pen.strokeRect(MARGIN.left + 0.5, MARGIN.top + 0.5, inner.width, inner.height);
  const bottom = MARGIN.top + inner.height;
  pen.globalAlpha = 0.55;
  pen.beginPath();
  const [below, beside] = [written(x, axes[0]), written(y, axes[1])];
  for (const [share] of below) {
    pen.moveTo(across(share), MARGIN.top);
    pen.lineTo(across(share), bottom);
  }
  for (const [share] of beside) {
    pen.moveTo(MARGIN.left, up(share));
    pen.lineTo(MARGIN.left + inner.width, up(share));
  }
  pen.stroke();
  pen.globalAlpha = 1;
  const most = Math.max(3, Math.floor(inner.width / axes[0].ticks.length / 7));
  Object.assign(pen, { textAlign: "center", textBaseline: "top" });
  for (const [share, text] of below) pen.fillText(readable(text, most), across(share), bottom + 6);
  Object.assign(pen, { textAlign: "right", textBaseline: "middle" });
  for (const [share, text] of beside) pen.fillText(readable(text, 8), MARGIN.left - 7, up(share));
  pen.font = `600 12px ${ink.font}`;
  Object.assign(pen, { textAlign: "center", textBaseline: "bottom" });
  pen.fillText(readable(x.name, 50), MARGIN.left + inner.width / 2, height - 2);
  pen.save();
  pen.translate(2, MARGIN.top + inner.height / 2);
  pen.rotate(-Math.PI / 2);
  pen.textBaseline = "top";
  pen.fillText(readable(y.name, 40), 0, 0);
  pen.restore();
}

function showScatterMarks() {
  const { xs, ys, width, height } = scatter.at;
  const pen = fitCanvas(scatter.marks, width, height);
  const ink = inksOf(scatter.marks);
  for (const row of [parallel.pointed, state.row]) {
    if (row === null || !isPlaced(row)) continue;
    for (const [line, colour, size] of [[4, ink.paper, 6.5], [2, ink.text, 6.5]]) {
      Object.assign(pen, { lineWidth: line, strokeStyle: colour });
      pen.beginPath();
      pen.arc(xs[row], ys[row], size, 0, 2 * Math.PI);
      pen.stroke();
    }
  }
  if (!scatter.brush) return;
  const [[left, top], [right, bottom]] = scatter.brush;
  Object.assign(pen, { fillStyle: ink.tint, strokeStyle: ink.tint, lineWidth: 1, globalAlpha: 0.2 });
  pen.fillRect(left, top, right - left, bottom - top);
  pen.globalAlpha = 1;
  pen.strokeRect(left, top, right - left, bottom - top);
}

function placeUnder(event) {
  const box = scatter.marks.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function dotUnder(event) {
  const [x, y] = placeUnder(event);
  const { xs, ys } = scatter.at;
  let [found, least] = [null, (2 * NEAR) ** 2];
  for (const row of kept.rows) {
    const distance = (xs[row] - x) ** 2 + (ys[row] - y) ** 2;
    if (distance < least) [found, least] = [row, distance];
  }
  return found;
}

// Dragging keeps what is in the rectangle; a click chooses a member.
function listenToScatter() {
  const { marks } = scatter;
  marks.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "touch" && !scatter.brush) point(dotUnder(event));
  });
  marks.addEventListener("pointerleave", () => point(null));
  marks.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch" || event.button !== 0) return;
    const first = placeUnder(event);
    const move = (now) => {
      const here = placeUnder(now);
      if (!scatter.brush && Math.hypot(here[0] - first[0], here[1] - first[1]) < 5) return;
      scatter.brush = [0, 1].map((end) => [0, 1].map((axis) =>
        (end ? Math.max(first[axis], here[axis]) : Math.min(first[axis], here[axis]))));
      point(null);
      later(showScatterMarks);
    };
    const end = () => {
      marks.removeEventListener("pointermove", move);
      marks.removeEventListener("pointerup", end);
      marks.removeEventListener("pointercancel", end);
      if (scatter.brush) keepRectangle();
    };
    marks.setPointerCapture(event.pointerId);
    marks.addEventListener("pointermove", move);
    marks.addEventListener("pointerup", end);
    marks.addEventListener("pointercancel", end);
  });
  marks.addEventListener("click", (event) => {
    if (scatter.dragged) return;
    const row = dotUnder(event);
    if (row !== null) choose({ row }, true);
  });
}

function keepRectangle() {
  const { x, y, axes, shares } = scatter.at;
  const [[left, top], [right, bottom]] = scatter.brush;
  const [[fromX, toY], [toX, fromY]] = [shares(left, top), shares(right, bottom)];
  scatter.brush = null;
  scatter.dragged = true;
  setTimeout(() => { scatter.dragged = false; }); // after the click that ends a drag
  for (const [column, axis, from, to] of [[x, axes[0], fromX, toX], [y, axes[1], fromY, toY]]) {
    if (to < 0 || from > 1 || (from <= 0 && to >= 1)) continue;
    const text = sayBetween(column, axis, from, to);
    if (text) setFilter(column.name, text);
  }
  changedFilters();
}
