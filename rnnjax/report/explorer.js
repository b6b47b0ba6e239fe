// The text and the list of units, and all that listens. `root`, `isDark`, `wanted` and `remember` are those of the
// page's first script.

const ROW = 34; // pixels of a unit in the list

// ---- the text

function addPassage(panel) {
  const head = made("header");
  const words = made("p", { class: "told" });
  const key = made("div", { class: "key", role: "img" });
  const text = made("div", { class: "symbols", tabindex: 0, role: "application", "aria-roledescription": "text" });
  head.append(words, key);
  const box = made("div", { class: "passage" }, head, text);
  document.querySelector(".passages").append(box);
  const passage = { panel, box, words, key, text, spans: [], levels: [], run: null, stretch: null, here: null };
  text.addEventListener("pointerdown", (event) => startDrag(passage, event));
  text.addEventListener("click", (event) => clickSymbol(passage, event));
  text.addEventListener("focus", () => { if (state.active !== panel && state.views[panel]) activate(panel); });
  return passage;
}
const passages = [];

function write(passage, run) {
  const parts = document.createDocumentFragment();
  const starts = new Set(run.starts);
  passage.spans = run.symbols.map((symbol, step) => {
    if (step && starts.has(step)) parts.append("\n");
    const span = made("span", { text: readable(symbol) || "∅" });
    span.step = step;
    if (/[\n\t]/.test(symbol)) span.dataset.mark = "";
    parts.append(span);
    if (symbol.includes("\n")) parts.append("\n");
    else if (symbol.includes("\t")) parts.append("\u2003");
    else if (run.spaced) parts.append(" ");
    return span;
  });
  Object.assign(passage, { run, levels: new Array(run.steps).fill(null), stretch: null, here: null });
  passage.text.classList.toggle("spaced", run.spaced);
  passage.text.replaceChildren(parts);
}

// Colours the text of a view; only the symbols whose colour is another are touched.
function paint(passage, view) {
  if (passage.run !== runOf(view)) write(passage, runOf(view));
  const { values, scale } = courseOf(view);
  const { spans, levels } = passage;
  for (let step = 0; step < spans.length; step++) {
    const level = levelOf(values[step], scale);
    if (level === levels[step]) continue;
    levels[step] = level;
    spans[step].className = level < 0 ? "blank" : `k${level}`;
  }
  showMarks(passage, view.step, view.stretch);
  showWords(passage, view, scale);
}

function showMarks(passage, step, stretch) {
  const { spans } = passage;
  const toggle = (range, isIn) => {
    if (range) for (let at = range[0]; at <= range[1]; at++) spans[at].toggleAttribute("data-in", isIn);
  };
  if (String(passage.stretch) !== String(stretch)) {
    toggle(passage.stretch, false);
    toggle(stretch, true);
    passage.stretch = stretch;
  }
  if (passage.here === step) return;
  spans[passage.here]?.removeAttribute("aria-current");
  spans[step].setAttribute("aria-current", "true");
  passage.here = step;
  reveal(passage.text, spans[step]);
}

// Scrolls the box and not the page.
function reveal(box, element) {
  const [outer, inner] = [box.getBoundingClientRect(), element.getBoundingClientRect()];
  if (inner.top < outer.top + 8) box.scrollTop += inner.top - outer.top - 24;
  else if (inner.bottom > outer.bottom - 8) box.scrollTop += inner.bottom - outer.bottom + 24;
}

function showWords(passage, view, { centre, reach }) {
  const run = runOf(view);
  const isPast = filmOf(view) && view.film !== null;
  const notes = isPast ? [] : notesOf(run, view.field, view.unit); // they are of the network as it is now
  const unit = made("b", { text: `unit ${view.unit}` });
  const when = isPast ? pastWords(run, run.film.checkpoints[view.film]) : " after it was read";
  const parts = ["Each symbol is coloured by ", unit, " of ", quoted(readable(view.field)), when];
  notes.slice(0, 2).forEach(({ concept, effect, direction }, place) => {
    const way = direction ? `, ${direction > 0 ? "rises" : "falls"} with it` : "";
    parts.push(place ? "; also " : " — ", made(place ? "span" : "b", {}, quoted(concept)));
    parts.push(` (effect ${short(effect)}${way})`);
  });
  const lesion = isPast ? null : lesionOf(run, view.field, placeOf(view));
  const change = lesion < 0 ? "falls" : "rises";
  if (lesion !== null) parts.push(`; without it the loss ${change} by ${short(Math.abs(lesion))}`);
  if (runs.length > 1) parts.unshift(quoted(readable(run.name), { class: "run" }), " ");
  passage.words.replaceChildren(...parts, ".");
  const ends = [centre - reach, centre, centre + reach].map(short);
  passage.key.replaceChildren(made("i"), ...ends.map((text) => made("span", { text })));
  passage.key.setAttribute("aria-label", `Colours: purple ${ends[0]}, plain ${ends[1]}, orange ${ends[2]}`);
  passage.key.title = `purple ${ends[0]}, plain ${ends[1]}, orange ${ends[2]}`;
  const title = `Text coloured by ${unitTitle(run, view.field, view.unit)} of ${readable(view.field)}`;
  passage.text.setAttribute("aria-label", title);
  passage.box.classList.toggle("active", state.views.length > 1 && passage.panel === state.active);
}

function pastWords({ film, steps }, checkpoint) {
  const share = film.seen < steps ? ` (${whole(film.seen)} of ${whole(steps)} symbols were filmed)` : "";
  return ` at training step ${whole(checkpoint)}${share}`;
}

function activate(panel) {
  if (panel === state.active) return;
  state.active = panel;
  changed();
}

// ---- dragging, and clicking, over the text

function stepUnder(passage, event) {
  const span = document.elementFromPoint(event.clientX, event.clientY)?.closest(".symbols span");
  return passage.text.contains(span ?? null) ? span.step : null;
}

function startDrag(passage, event) {
  const first = stepUnder(passage, event);
  if (event.pointerType === "touch" || event.button !== 0 || first === null) return;
  let last = first;
  const move = (now) => {
    const step = stepUnder(passage, now);
    if (step === null || step === last) return;
    last = step;
    showMarks(passage, passage.here, [Math.min(first, last), Math.max(first, last)]);
  };
  const end = () => {
    removeEventListener("pointermove", move);
    removeEventListener("pointerup", end);
    removeEventListener("pointercancel", end);
    if (last === first) return;
    passage.dragged = true;
    state.active = passage.panel;
    choose({ step: first, stretch: [Math.min(first, last), Math.max(first, last)] });
    setTimeout(() => { passage.dragged = false; }); // after the click that ends a drag
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", end);
  addEventListener("pointercancel", end);
}

function clickSymbol(passage, event) {
  const step = stepUnder(passage, event);
  if (step === null || passage.dragged) return;
  state.active = passage.panel;
  const anchor = event.shiftKey ? active().step : state.anchor;
  setAnchor(null);
  choose({ step, stretch: anchor === null ? null : [anchor, step] });
}

function setAnchor(step) {
  state.anchor = step;
  $("from-here").setAttribute("aria-pressed", String(step !== null));
  $("from-here").textContent = step === null ? "Select from here" : "Now choose the end";
}

// ---- the picker

function showPicker() {
  const view = active();
  const fields = [...runOf(view).layers.keys()];
  fill($("pick-run"), runs.map((run) => [run.number, `${run.number + 1}: ${readable(run.name, 40)}`]), view.run);
  fill($("pick-field"), fields.map((field, place) => [place, readable(field, 40)]), fields.indexOf(view.field));
  fill($("pick-sort"), Object.entries(SORTS).map(([key, { title }]) => [key, title]), state.sort);
  $("run-choice").hidden = runs.length < 2;
  if ($("pick-find").value !== state.find) $("pick-find").value = state.find;
  const entries = listed(view);
  const all = layerOf(view).units.length;
  const most = Math.max(...[...runOf(view).layers.values()].map((layer) => layer.units.length));
  const chosen = all < most ? `, chosen of ${whole(most)} by their effects` : "";
  $("found").textContent = `${entries.length === all ? "" : `${whole(entries.length)} of `}${whole(all)} units${chosen}`;
  $("units").firstElementChild.style.height = `${ROW * entries.length}px`;
  const place = entries.findIndex((entry) => entry.unit === view.unit);
  const key = [listed.key, view.unit].join("\0");
  if (place >= 0 && showPicker.key !== key) bringRow(place);
  showPicker.key = key;
  showRows();
}

function fill(select, options, chosen) {
  const wantedOptions = JSON.stringify(options);
  if (select.dataset.options !== wantedOptions) {
    select.dataset.options = wantedOptions;
    select.replaceChildren(...options.map(([value, text]) => made("option", { value, text })));
  }
  select.value = String(chosen);
}

function bringRow(place) {
  const box = $("units");
  if (ROW * place < box.scrollTop) box.scrollTop = ROW * place;
  else if (ROW * (place + 1) > box.scrollTop + box.clientHeight) box.scrollTop = ROW * (place + 1) - box.clientHeight;
}

// Only the rows that are in sight exist.
function showRows() {
  const box = $("units");
  const entries = listed(active());
  const first = Math.max(0, Math.floor(box.scrollTop / ROW) - 2);
  const last = first + Math.ceil(box.clientHeight / ROW) + 4;
  const rows = entries.slice(first, last).map((entry, k) => row(entry, first + k));
  box.firstElementChild.replaceChildren(...rows);
  const isThere = rows.some((element) => element.id === `unit-${active().unit}`);
  if (isThere) box.setAttribute("aria-activedescendant", `unit-${active().unit}`);
  else box.removeAttribute("aria-activedescendant");
}

function row(entry, place) {
  const { unit, note, lesion, deviation, inFilm } = entry;
  const isChosen = unit === active().unit;
  const numbers = { lesion: ["loss", lesion], variance: ["σ", deviation] };
  const [what, number] = numbers[state.sort] ?? (note ? ["effect", note.effect] : numbers.variance);
  const element = made("div", {
    role: "option", id: `unit-${unit}`, "aria-selected": isChosen, "aria-posinset": place + 1,
    "aria-setsize": listed.entries.length, title: note ? `${note.concept}${inFilm ? " (in the film)" : ""}` : null,
  });
  element.style.top = `${ROW * place}px`;
  element.append(
    made("b", { text: unit }), quoted(note?.concept ?? "", { class: "concept" }),
    made("span", { class: "amount", text: number === null ? "" : `${what} ${short(number)}` }),
  );
  return pressed(element, () => choose({ unit }));
}

// Goes so many places up or down the list.
function moveUnit(by) {
  const entries = listed(active());
  if (!entries.length) return;
  const place = entries.findIndex((entry) => entry.unit === active().unit);
  const next = place < 0 ? 0 : Math.max(0, Math.min(entries.length - 1, place + by));
  choose({ unit: entries[next].unit });
}

// ---- showing

// The text first; what takes longer once that is on the screen. The list measures itself, so it comes before the text
// has been touched: measuring afterwards would have the browser work out all of the text's styles twice.
function show() {
  showPicker();
  state.views.forEach((view, panel) => {
    passages[panel] ??= addPassage(panel);
    passages[panel].box.hidden = false;
    paint(passages[panel], view);
  });
  for (const passage of passages.slice(state.views.length)) passage.box.hidden = true;
  $("compare").setAttribute("aria-pressed", String(state.views.length > 1));
  $("one-scale").setAttribute("aria-pressed", String(state.shared));
  $("zoom").setAttribute("aria-pressed", String(state.whole));
  if (show.waiting) return;
  show.waiting = true;
  requestAnimationFrame(() => requestAnimationFrame(showRest));
}

function showRest() {
  show.waiting = false;
  const { run, field, step, stretch } = active();
  $("pointed").textContent = "";
  showHeat();
  bringColumn(step);
  showFilm();
  showHere();
  showCorrelation();
  const asked = (what) => [run, field, what].join("\0"); // these do not change with the unit
  if (showRest.alike !== asked(step)) showAlike();
  if (showRest.stretch !== asked(stretch)) showStretch();
  Object.assign(showRest, { alike: asked(step), stretch: asked(stretch) });
}

// After a choice of the reader, the address too; browsers refuse one that changes many times a second.
function changed() {
  show();
  clearTimeout(changed.waiting);
  changed.waiting = setTimeout(keepAddress, 250);
}

function showAll() {
  readAddress();
  show();
}

// ---- keys

const KEYS = [
  ["← →", "move the cursor (with shift: select a stretch)"],
  ["Home End", "go to the first, the last symbol"],
  ["↑ ↓ or k j", "the unit before, the next one, in the order of the list"],
  ["[ ]", "the checkpoint before, the next one", ["[", "]"]],
  ["n", "go to the place where the state is most like here"],
  ["s", "the next symbol that you choose ends a stretch from here"],
  ["c", "compare with a second unit or run; again: with none"],
  ["x", "go to the other text of a comparison"],
  ["w", "heat map of the whole text, or letter by letter"],
  ["/", "find a unit"],
  ["Esc", "leave the stretch, then the search"],
  ["?", "these keys"],
];

function moveStep(step, isStretch) {
  const { stretch, step: here } = active();
  const to = Math.max(0, Math.min(runOf(active()).steps - 1, step));
  if (!isStretch) {
    const anchor = state.anchor;
    choose({ step: to, stretch: anchor === null ? null : [anchor, to] });
    return;
  }
  const fixed = stretch ? (here === stretch[0] ? stretch[1] : stretch[0]) : here;
  choose({ step: to, stretch: [fixed, to] });
}

function moveFilm(by) {
  const view = active();
  const film = filmOf(view);
  if (!film) return;
  const place = Math.max(0, Math.min(film.taken, (view.film ?? film.taken) + by));
  choose({ film: place === film.taken ? null : place });
}

function toggleCompare() {
  if (state.views.length > 1) {
    state.views = [active()];
  } else {
    const other = runs.length > 1 ? fitted({ ...active(), run: 1 - active().run }) : { ...active() };
    state.views.push(other);
    state.active = 1;
  }
  if (state.views.length === 1) state.active = 0;
  changed();
}

function escape() {
  if (state.anchor !== null) setAnchor(null);
  else if (active().stretch) choose({ stretch: null });
  else if (state.find) find("");
}

const ACTIONS = {
  ArrowLeft: (event) => moveStep(active().step - 1, event.shiftKey),
  ArrowRight: (event) => moveStep(active().step + 1, event.shiftKey),
  Home: (event) => moveStep(0, event.shiftKey),
  End: (event) => moveStep(runOf(active()).steps - 1, event.shiftKey),
  ArrowUp: () => moveUnit(-1),
  ArrowDown: () => moveUnit(1),
  k: () => moveUnit(-1),
  j: () => moveUnit(1),
  "[": () => moveFilm(-1),
  "]": () => moveFilm(1),
  n: () => { const [near] = neighbours(layerOf(active()), active().step); if (near) choose({ step: near.step }); },
  s: () => setAnchor(state.anchor === null ? active().step : null),
  c: toggleCompare,
  x: () => { if (state.views.length > 1) activate(1 - state.active); },
  w: () => { state.whole = !state.whole; changed(); },
  "/": () => { $("pick-find").focus(); $("pick-find").select(); },
  "?": () => $("keys").showModal(),
  Escape: escape,
};
const SCROLLING = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"]; // the page's own, outside

function onKey(event) {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (target === $("pick-find")) onFindKey(event);
  if (target.matches("input, select, textarea")) return;
  const isOutside = target !== document.body && !$("explore").contains(target);
  if (isOutside || (SCROLLING.includes(key) && !$("explorer").contains(target))) return;
  if (!Object.hasOwn(ACTIONS, key)) return;
  event.preventDefault();
  ACTIONS[key](event);
}

function onFindKey(event) {
  const read = () => passages[state.active].text.focus({ preventScroll: true });
  const actions = {
    ArrowDown: () => moveUnit(1),
    ArrowUp: () => moveUnit(-1),
    Enter: () => { const [first] = listed(active()); if (first) choose({ unit: first.unit }); read(); },
    Escape: () => { find(""); read(); },
  };
  if (!Object.hasOwn(actions, event.key)) return;
  event.preventDefault();
  actions[event.key]();
}

function find(text) {
  state.find = text;
  changed();
}

// ---- beginning

function listen() {
  $("pick-run").addEventListener("change", (event) => choose({ run: +event.target.value, film: null }));
  $("pick-field").addEventListener("change", (event) =>
    choose({ field: [...runOf(active()).layers.keys()][+event.target.value] }));
  $("pick-sort").addEventListener("change", (event) => { state.sort = event.target.value; changed(); });
  $("pick-find").addEventListener("input", (event) => find(event.target.value));
  $("units").addEventListener("scroll", showRows, { passive: true });
  $("compare").addEventListener("click", toggleCompare);
  $("from-here").addEventListener("click", ACTIONS.s);
  $("one-scale").addEventListener("click", () => { state.shared = !state.shared; changed(); });
  $("show-keys").addEventListener("click", ACTIONS["?"]);
  $("zoom").addEventListener("click", ACTIONS.w);
  $("checkpoint").addEventListener("input", (event) => {
    const place = +event.target.value;
    choose({ film: place === runOf(active()).film.taken ? null : place });
  });
  $("strip").addEventListener("click", clickStrip);
  heat.box.addEventListener("scroll", showHeat, { passive: true });
  heat.canvas.addEventListener("click", (event) => {
    const { entry, step } = underHeat(event);
    if (step !== null) choose({ step, ...(entry && { unit: entry.unit }) });
  });
  heat.canvas.addEventListener("pointermove", (event) => {
    const { entry, step } = underHeat(event);
    if (!entry || step === null) return;
    const value = layerOf(active()).told(entry.place, step);
    const symbol = named(runOf(active()).symbols[step]);
    $("pointed").textContent = `unit ${entry.unit}, step ${whole(step)}, ${symbol}: ${value}`;
  });
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", showAll);
  addEventListener("theme", show);
  new ResizeObserver(() => show()).observe($("explorer"));
  addEventListener("beforeprint", () => { paper.light = true; showHeat(); showFilm(); });
  addEventListener("afterprint", () => { paper.light = false; showHeat(); showFilm(); });
}

function addKeys() {
  const rows = KEYS.map(([name, what]) =>
    made("div", {}, made("dt", {}, made("kbd", { text: name })), made("dd", { text: what })));
  $("keys").querySelector("dl").replaceChildren(...rows);
}

async function begin() {
  if (!canUnpack()) {
    $("explorer-message").textContent = `This browser cannot open the recorded courses: it lacks ${UNPACKERS}`;
    return;
  }
  const count = document.querySelectorAll('script[id^="exploration-"]').length;
  for (let number = 0; number < count; number++) runs.push(await unpacked(number));
  if (!runs.some((run) => run.notes.size)) state.sort = "variance";
  addPalette();
  addKeys();
  $("explorer-message").hidden = true;
  $("explorer").hidden = false;
  showAll();
  listen();
}

await begin();

// For the console, and for programs that drive the page.
globalThis.explorer = { runs, state, choose, neighbours, switches, likeStretch };
