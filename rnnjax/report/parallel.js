// Parallel coordinates: a line a member, an axis a column. What is kept by the filters is coloured, the rest is grey.

const HIGH = 268; // pixels of an axis
const TOP = 12;
const GAP = 30; // below the axes, where lines go that have no value
const ASIDE = 44; // left and right of the outer axes
const NARROW = 92; // pixels between two axes at least
const BAND = 46; // pixels over which members of the same value are spread, at most
const BEST = 50; // members that are drawn as strong as few would be
const AT_ONCE = 1500; // lines drawn before the others
const NEAR = 9; // pixels between the pointer and what it points at

const parallel = {
  box: $("parallel"), lines: $("parallel").querySelector(".lines"), marks: $("parallel").querySelector(".marks"),
  axes: [], places: [], width: 0, job: 0, pointed: null, brush: null,
};

// Whether some member has no place on some axis, for which there is room below.
const hasLane = () => parallel.axes.some(({ column }) => column.missing > 0 || !column.sorted.every(Number.isFinite));
const NOWHERE = TOP + HIGH + GAP - 8; // where what has no place on an axis crosses it
const bandOf = (axis) => (axis.kind === "listed" ? Math.min(BAND, (0.6 * HIGH) / axis.count) : 0);
const yOf = (axis, share) => TOP + bandOf(axis) / 2 + (HIGH - bandOf(axis)) * (1 - share);
const shareAt = (axis, y) => 1 - (y - TOP - bandOf(axis) / 2) / (HIGH - bandOf(axis));
const xOf = (place) => ASIDE + place * parallel.gap;

// The axes anew: after another choice of them, another kind of scale, or another width.
function layAxes() {
  const names = state.axes.filter((name) => sweep.columns.has(name));
  parallel.axes = names.map((name) => ({ name, column: columnOf(name), axis: axisOf(columnOf(name)) }));
  const room = parallel.box.clientWidth - 2 * ASIDE;
  parallel.gap = names.length > 1 ? Math.max(NARROW, room / (names.length - 1)) : room / 2;
  parallel.width = Math.max(parallel.box.clientWidth, 2 * ASIDE + parallel.gap * (names.length - 1));
  parallel.height = TOP + HIGH + (hasLane() ? GAP : 12);
  const strengths = strengthsOf(weight());
  const down = Float32Array.from(strengths, (strong) => 0.5 - (Number.isNaN(strong) ? 0 : strong));
  parallel.places = parallel.axes.map(({ column, axis }) => {
    const band = bandOf(axis);
    return Float32Array.from(sharesOn(column, axis), (share, row) =>
      (Number.isNaN(share) ? NOWHERE + 9 * down[row] : yOf(axis, share) + band * down[row]));
  });
  parallel.box.firstElementChild.style.width = `${parallel.width}px`;
  layHeads();
  layStrips();
  if (parallel.pointed === null) $("pointed").textContent = idleWords();
}

function idleWords() {
  const column = weight();
  const order = isTurned(column) ? "least" : "greatest";
  const isSpread = parallel.axes.some(({ axis }) => axis.kind === "listed");
  const name = readable(column.name, 60);
  return isSpread ? `Members of the same value are spread a little, the ${order} ${name} above.` : "";
}

function layHeads() {
  const width = Math.min(parallel.gap, 2 * ASIDE + 60) - 6;
  parallel.box.querySelector(".heads").replaceChildren(...parallel.axes.map(({ name, column }, place) => {
    const head = made("button", { type: "button", class: "plain", title: headHint(column) }, ...broken(name));
    head.classList.toggle("chosen", name === state.colour);
    const left = Math.max(2, Math.min(parallel.width - width - 2, xOf(place) - width / 2));
    Object.assign(head.style, { left: `${left}px`, width: `${width}px` });
    if (place === 0) head.style.textAlign = "left";
    else if (place === parallel.axes.length - 1) head.style.textAlign = "right";
    head.addEventListener("pointerdown", (event) => startMove(event, name, head));
    head.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by && event.shiftKey) moveAxis(name, by);
    });
    return pressed(head, () => { if (!head.moved) choose({ colour: name }); });
  }));
  const heads = parallel.box.querySelector(".heads");
  heads.style.height = `${Math.max(...[...heads.children].map((head) => head.offsetHeight)) + 4}px`;
}
const headHint = (column) =>
  `${readable(column.name, 200)}: click to colour by it, drag or press shift and an arrow to move it`;

// Moves an axis so many places to the right; what has the focus keeps it.
function moveAxis(name, by) {
  const axes = state.axes.filter((other) => other !== name);
  const to = Math.max(0, Math.min(axes.length, state.axes.indexOf(name) + by));
  axes.splice(to, 0, name);
  choose({ axes });
  parallel.box.querySelectorAll(".heads button")[to].focus({ preventScroll: true });
}

function startMove(event, name, head) {
  if (event.button !== 0 || event.pointerType === "touch") return;
  const first = event.clientX;
  const by = (now) => Math.round((now.clientX - first) / parallel.gap);
  const move = (now) => {
    head.moved ||= Math.abs(now.clientX - first) > 5;
    if (head.moved) head.style.translate = `${now.clientX - first}px`;
  };
  const end = (now) => {
    head.removeEventListener("pointermove", move);
    head.removeEventListener("pointerup", end);
    head.removeEventListener("pointercancel", end);
    head.style.translate = "";
    if (head.moved && by(now)) moveAxis(name, by(now));
    setTimeout(() => { head.moved = false; }); // after the click that ends a drag
  };
  head.setPointerCapture(event.pointerId);
  head.addEventListener("pointermove", move);
  head.addEventListener("pointerup", end);
  head.addEventListener("pointercancel", end);
}

function layStrips() {
  parallel.box.querySelector(".strips").replaceChildren(...parallel.axes.map(({ name }, place) => {
    const strip = made("div", { title: `Drag to keep a stretch of ${readable(name, 200)}; click to keep all` });
    Object.assign(strip.style, { left: `${xOf(place) - 13}px`, height: `${parallel.height}px` });
    strip.addEventListener("pointerdown", (event) => startBrush(event, place, strip));
    return strip;
  }));
}

// ---- lines

function drawLines(pen, rows, levels, palette, alpha) {
  const { places } = parallel;
  for (const row of rows) {
    pen.globalAlpha = levels && standings.place.get(row) < BEST ? Math.min(0.85, 5 * alpha) : alpha;
    pen.strokeStyle = levels ? colourIn(palette, levels[row]) : palette;
    pen.beginPath();
    places.forEach((place, axis) => (axis ? pen.lineTo(xOf(axis), place[row]) : pen.moveTo(xOf(0), place[row])));
    pen.stroke();
  }
}

function thinned(rows, most) {
  if (rows.length <= most) return rows;
  return Uint32Array.from({ length: most }, (_, at) => rows[Math.floor(((at + 0.5) * rows.length) / most)]);
}

// Some lines at once, then, where there are more, all of them on a canvas of their own that takes the first's place.
function showLines() {
  const levels = levelsOf(columnOf(state.colour));
  const palette = paletteOf(columnOf(state.colour));
  const grey = inksOf(parallel.lines).rest;
  const rows = fromWeak(kept.rows);
  const rest = leftOut();
  const ratio = devicePixelRatio || 1;
  const begin = (pen) => { pen.lineWidth = rows.length > 300 ? 1 / ratio : 1.2; }; // thicker than a dot is slow
  const alphaOf = (count) => Math.max(0.06, Math.min(0.85, 9 / Math.sqrt(count || 1)));
  const pen = fitCanvas(parallel.lines, parallel.width, parallel.height);
  begin(pen);
  const [few, others] = [thinned(rows, AT_ONCE), thinned(rest, AT_ONCE / 3)];
  drawLines(pen, others, null, grey, alphaOf(2 * others.length) / 2);
  drawLines(pen, few, levels, palette, alphaOf(few.length));
  const words = `${whole(kept.rows.length)} members as lines over ${parallel.axes.length} axes`;
  parallel.lines.setAttribute("aria-label", words);
  clearTimeout(parallel.job);
  parallel.drawn = rows.length === few.length && rest.length === others.length;
  if (parallel.drawn) return;
  const behind = new OffscreenCanvas(parallel.lines.width, parallel.lines.height);
  const fine = behind.getContext("2d");
  fine.setTransform(ratio, 0, 0, ratio, 0, 0);
  begin(fine);
  const steps = [];
  for (let at = 0; at < rest.length; at += AT_ONCE) {
    steps.push(() => drawLines(fine, rest.subarray(at, at + AT_ONCE), null, grey, alphaOf(2 * rest.length) / 2));
  }
  for (let at = 0; at < rows.length; at += AT_ONCE) {
    steps.push(() => drawLines(fine, rows.subarray(at, at + AT_ONCE), levels, palette, alphaOf(rows.length)));
  }
  steps.push(() => {
    const front = fitCanvas(parallel.lines, parallel.width, parallel.height);
    front.drawImage(behind, 0, 0, parallel.width, parallel.height);
    parallel.drawn = true;
  });
  const next = () => {
    steps.shift()();
    if (steps.length) parallel.job = setTimeout(next, 5);
  };
  parallel.job = setTimeout(next, parallel.brush ? 400 : 30);
}

// ---- axes, stretches that are kept, and the members that are pointed at and chosen

function showMarks() {
  const pen = fitCanvas(parallel.marks, parallel.width, parallel.height);
  const ink = inksOf(parallel.marks);
  pen.font = `11px ${ink.font}`;
  if (hasLane()) {
    pen.strokeStyle = ink.rule;
    pen.setLineDash([2, 4]);
    pen.strokeRect(0, NOWHERE - 11.5, parallel.width, 0);
    pen.setLineDash([]);
  }
  parallel.axes.forEach(({ name, column, axis }, place) => drawAxis(pen, ink, name, column, axis, place));
  for (const row of [parallel.pointed, state.row]) {
    if (row === null) continue;
    for (const [width, colour] of [[4.5, ink.paper], [2, ink.text]]) {
      Object.assign(pen, { lineWidth: width, strokeStyle: colour });
      pen.beginPath();
      parallel.places.forEach((at, axis) => (axis ? pen.lineTo(xOf(axis), at[row]) : pen.moveTo(xOf(0), at[row])));
      pen.stroke();
    }
  }
  parallel.axes.forEach(({ column, axis }, place) => drawTicks(pen, ink, column, axis, place));
}

function drawAxis(pen, ink, name, column, axis, place) {
  const x = Math.round(xOf(place)) + 0.5;
  Object.assign(pen, { lineWidth: 1, strokeStyle: ink.text });
  pen.beginPath();
  pen.moveTo(x, TOP);
  pen.lineTo(x, TOP + HIGH);
  pen.stroke();
  const filter = kept.filters.get(name);
  const brush = parallel.brush?.place === place ? [parallel.brush.ends] : null;
  const spans = brush ?? (filter?.stretches ?? []).map(([from, to]) => spanOn(axis, column, from, to)).filter(Boolean);
  const pad = Math.max(1.5, bandOf(axis) / 2 + 2);
  pen.fillStyle = ink.tint;
  for (const [top, bottom] of spans) {
    pen.globalAlpha = 0.35;
    pen.fillRect(x - 7, top - pad, 14, bottom - top + 2 * pad);
    pen.globalAlpha = 1;
    pen.fillRect(x - 1.5, top - pad, 3, bottom - top + 2 * pad);
  }
  if (!brush && filter?.takesMissing && column.missing) pen.fillRect(x - 7, NOWHERE - 4, 14, 8);
}

// The pixels from the top to the bottom of what is kept on an axis.
function spanOn(axis, column, from, to) {
  const { distinct } = column;
  const ends = [countBelow(distinct, (value) => value < from), countBelow(distinct, (value) => value <= to)];
  const inside = distinct.subarray(...ends).filter((number) => !Number.isNaN(axis.share(number)));
  if (!inside.length) return null;
  const isFlat = axis.kind === "listed" || axis.kind === "rank";
  const clamp = (share) => Math.max(0, Math.min(1, share));
  const place = (number, least) => (isFlat || !Number.isFinite(number) || (axis.kind === "log" && number <= 0)
    ? axis.share(least) : clamp(axis.share(number)));
  return [yOf(axis, place(to, inside.at(-1))), yOf(axis, place(from, inside[0]))];
}

function drawTicks(pen, ink, column, axis, place) {
  const isLast = place === parallel.axes.length - 1;
  const most = Math.max(4, Math.floor((parallel.gap - 14) / 6.5));
  Object.assign(pen, { textAlign: isLast && place ? "right" : "left", textBaseline: "middle", lineJoin: "round" });
  const write = (text, y) => {
    const x = xOf(place) + (isLast && place ? -9 : 9);
    Object.assign(pen, { lineWidth: 3.5, strokeStyle: ink.paper, fillStyle: ink.text });
    pen.strokeText(text, x, y);
    pen.fillText(text, x, y);
  };
  for (const [share, text] of written(column, axis)) write(readable(text, most), yOf(axis, share));
  if (column.missing) write("none", NOWHERE);
}

// ---- pointing, and dragging along an axis

function lineUnder(event) {
  const box = parallel.marks.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  const place = Math.floor((x - ASIDE) / parallel.gap);
  if (place < 0 || place >= parallel.axes.length - 1) return null;
  const part = (x - xOf(place)) / parallel.gap;
  const [left, right] = [parallel.places[place], parallel.places[place + 1]];
  let [found, least] = [null, NEAR];
  for (const row of kept.rows) {
    const distance = Math.abs(left[row] + (right[row] - left[row]) * part - y);
    if (distance < least) [found, least] = [row, distance];
  }
  return found;
}

function startBrush(event, place, strip) {
  if (event.button !== 0) return;
  event.preventDefault();
  const { name, column, axis } = parallel.axes[place];
  const top = parallel.marks.getBoundingClientRect().top;
  const first = event.clientY - top;
  const before = state.filters.get(name) ?? "";
  strip.setPointerCapture(event.pointerId);
  const move = (now) => {
    const y = now.clientY - top;
    if (!parallel.brush && Math.abs(y - first) < 4) return;
    const ends = [Math.min(first, y), Math.max(first, y)];
    parallel.brush = { place, ends: ends.map((at) => Math.max(TOP, Math.min(TOP + HIGH + GAP, at))) };
    const isOn = ends[0] <= TOP + HIGH;
    const parts = isOn ? [sayBetween(column, axis, shareAt(axis, ends[1]), shareAt(axis, ends[0]))] : [];
    if (column.missing && ends[1] > NOWHERE - 10 && !(column.names && isOn)) parts.push("none");
    setFilter(name, parts.filter(Boolean).join(",") || before);
    later(changedFilters);
  };
  const end = () => {
    strip.removeEventListener("pointermove", move);
    strip.removeEventListener("pointerup", end);
    strip.removeEventListener("pointercancel", end);
    if (!parallel.brush) setFilter(name, "");
    parallel.brush = null;
    changedFilters();
  };
  strip.addEventListener("pointermove", move);
  strip.addEventListener("pointerup", end);
  strip.addEventListener("pointercancel", end);
}

function point(row) {
  if (row === parallel.pointed) return;
  parallel.pointed = row;
  $("pointed").textContent = row === null ? idleWords() : `member ${memberOf(row)} · ${
    parallel.axes.map(({ name, column }) => `${readable(name, 40)} ${tell(column, row)}`).join(" · ")}`;
  later(showMarks);
  later(showScatterMarks);
}

function listenToParallel() {
  const { marks } = parallel;
  marks.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") point(lineUnder(event)); });
  marks.addEventListener("pointerleave", () => point(null));
  marks.addEventListener("click", (event) => {
    const row = lineUnder(event);
    if (row !== null) choose({ row }, true);
  });
}

// ---- which axes

function showAxisChoice() {
  const columns = [...sweep.columns.values()];
  const offered = columns.filter((column) => column.differs || state.axes.includes(column.name));
  $("axes").replaceChildren(...offered.map((column) => {
    const box = made("input", { type: "checkbox" });
    box.checked = state.axes.includes(column.name);
    box.addEventListener("change", () => {
      const chosen = state.axes.filter((name) => name !== column.name);
      if (box.checked) chosen.splice(Math.max(0, chosen.length - 1), 0, column.name); // the last one is the result
      if (chosen.length) choose({ axes: chosen });
      else box.checked = true;
    });
    return made("label", {}, box, " ", quoted(readable(column.name, 60)));
  }));
}
