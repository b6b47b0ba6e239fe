// All that is shown together, all that listens, and how it begins. `isDark`, `wanted`, `remember` and `copy` are those
// of the page's first script.

// ---- showing

// Once before the next frame, however often it is asked for.
function later(action) {
  later.waiting ??= new Set();
  if (!later.waiting.size) {
    requestAnimationFrame(() => {
      const actions = [...later.waiting];
      later.waiting.clear();
      for (const each of actions) each();
    });
  }
  later.waiting.add(action);
}

function keepSoon() {
  clearTimeout(keepSoon.waiting);
  keepSoon.waiting = setTimeout(keepAddress, 250); // browsers refuse an address that changes many times a second
}

function showCounts() {
  const [count, all] = [kept.rows.length, sweep.rows];
  const tally = made("b", { text: whole(count) });
  $("counted").replaceChildren(tally, count === all ? " members" : ` of ${whole(all)} members`);
  const chips = [...state.filters].map(([name, text]) => {
    const label = `Remove the filter of ${readable(name, 60)}`;
    const chip = made("button", { type: "button", title: label, "aria-label": label }, quoted(readable(name, 40)), " ",
      made("b", {}, quoted(readable(text, 40))), " ✕");
    if (kept.wrong.has(name)) chip.classList.add("wrong");
    return made("li", {}, pressed(chip, () => { setFilter(name, ""); changedFilters(); }));
  });
  if (chips.length > 1) {
    const clear = made("button", { type: "button", text: "Clear all" });
    chips.push(made("li", {}, pressed(clear, clearFilters)));
  }
  $("asked").replaceChildren(...chips);
}

function clearFilters() {
  state.filters.clear();
  changedFilters();
}

function showChoices() {
  const options = [...sweep.columns.values()].filter((column) => column.differs || column.name === "member" ||
    [state.colour, state.x, state.y].includes(column.name)).map((column) => [column.name, readable(column.name, 60)]);
  for (const [id, chosen] of [["pick-colour", state.colour], ["pick-x", state.x], ["pick-y", state.y]]) {
    const select = $(id);
    if (select.children.length !== options.length) {
      select.replaceChildren(...options.map(([, text], place) => made("option", { value: place, text })));
      select.names = options.map(([name]) => name);
    }
    select.value = String(select.names.indexOf(chosen));
  }
  $("by-rank").setAttribute("aria-pressed", String(state.ranks));
  $("only-changed").setAttribute("aria-pressed", String(!state.all));
  showScale();
  showAxisChoice();
}

// The key of the colours.
function showScale() {
  const column = columnOf(state.colour);
  const box = document.querySelector(".scale");
  const palette = paletteOf(column);
  box.classList.toggle("named", isNamed(column));
  if (isNamed(column)) {
    const names = column.names.map((name, place) => {
      const dot = made("span", { class: "dot" });
      dot.style.background = palette[place];
      return made("span", {}, dot, quoted(readable(name || "empty", 24)));
    });
    box.replaceChildren(...names);
    box.setAttribute("aria-label", `A colour for each ${readable(column.name, 60)}`);
    return;
  }
  const { sorted } = column;
  const ends = sorted.length ? [sorted[0], sorted[sorted.length >> 1], sorted.at(-1)] : [];
  if (isTurned(column)) ends.reverse();
  const bar = made("i");
  bar.style.background = `linear-gradient(90deg, ${palette.join(",")})`;
  const words = ends.map((number) => readable(tellNumber(column, number), 12));
  box.replaceChildren(bar, ...words.map((text) => made("span", { text })));
  box.setAttribute("aria-label", `Colours by rank: from ${words[0]} over the median ${words[1]} to ${words[2]}`);
  box.title = `By rank: ${words[0]}, median ${words[1]}, ${words[2]}`;
}

// The pictures are as large as what is beside them leaves, so they come last.
function showPictures() {
  layAxes();
  layScatter();
  showLines();
  showMarks();
  showScatter();
  showScatterMarks();
}

function showAll() {
  showChoices();
  refilter();
  showCounts();
  layTable();
  showRows();
  showMember();
  showPictures();
}

function changedFilters() {
  refilter();
  showCounts();
  showHeads();
  table.box.scrollTop = Math.min(table.box.scrollTop, ROW * kept.rows.length);
  showRows();
  showMember();
  later(showLines);
  later(showMarks);
  later(showScatter);
  keepSoon();
}

// Changes what is shown; a member that was chosen in a picture is brought into sight in the table.
function choose(changes, isFromPicture = false) {
  Object.assign(state, changes);
  keepSoon();
  if (Object.keys(changes).join() !== "row") {
    showAll();
    return;
  }
  if (isFromPicture) bringRow(state.row);
  showRows();
  showMember();
  later(showMarks);
  later(showScatterMarks);
}

// ---- keys

const KEYS = [
  ["↑ ↓ or k j", "the member above, below, in the order of the table"],
  ["Home End", "the first, the last member"],
  ["b", "the best member"],
  ["r", "axes by rank, or by value"],
  ["c", "show columns that do not differ, or hide them"],
  ["/", "filter the column that the table is sorted by"],
  ["Esc", "remove all filters"],
  ["?", "these keys"],
];

function moveRow(by) {
  const { rows } = kept;
  if (!rows.length) return;
  const place = rows.indexOf(state.row);
  const next = place < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, place + by));
  choose({ row: rows[next] }, true);
}

function focusFilter() {
  const [name] = state.sorts[0];
  const inputs = [...tableHead.querySelectorAll("input")];
  (inputs.find((input) => input.dataset.column === name) ?? inputs[0]).focus();
}

const ACTIONS = {
  ArrowUp: () => moveRow(-1),
  ArrowDown: () => moveRow(1),
  PageUp: () => moveRow(-10),
  PageDown: () => moveRow(10),
  Home: () => moveRow(-Infinity),
  End: () => moveRow(Infinity),
  k: () => moveRow(-1),
  j: () => moveRow(1),
  b: () => { if (sweep.rows) choose({ row: standings()[0] }, true); },
  r: () => choose({ ranks: !state.ranks }),
  c: () => choose({ all: !state.all }),
  "/": focusFilter,
  "?": () => $("keys").showModal(),
  Escape: () => { if (state.filters.size) clearFilters(); },
};
const SCROLLING = ["ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End"]; // the page's own, outside the table

function onKey(event) {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open], :popover-open")) return;
  if (target.matches("input") && key === "Escape") {
    setFilter(target.dataset.column, "");
    changedFilters();
    target.value = "";
    table.grid.focus({ preventScroll: true });
    return;
  }
  if (target.matches("input, select, textarea")) return;
  const isOutside = target !== document.body && !$("members").contains(target);
  if (isOutside || (SCROLLING.includes(key) && !$("rows").contains(target))) return;
  if (!Object.hasOwn(ACTIONS, key)) return;
  event.preventDefault();
  ACTIONS[key](event);
}

function addKeys() {
  const rows = (entries) => entries.map(([name, what]) =>
    made("div", {}, made("dt", {}, made("kbd", { text: name })), made("dd", { text: what })));
  const heading = made("h3", { text: "What a filter may say" });
  $("keys").querySelector("dl").replaceChildren(...rows(KEYS), heading, ...rows(GRAMMAR));
}

// ---- beginning

function save() {
  const link = made("a", { download: `${sweep.name}.csv`.replace(/[^\p{L}\p{N}.]+/gu, "-") });
  link.href = URL.createObjectURL(new Blob([asCsv(kept.rows)], { type: "text/csv;charset=utf-8" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function placePopover(event) {
  if (event.newState !== "open") return;
  const [box, from] = [$("axes"), $("pick-axes").getBoundingClientRect()];
  const left = Math.max(8, Math.min(innerWidth - box.offsetWidth - 8, from.left));
  const top = Math.max(8, Math.min(innerHeight - box.offsetHeight - 8, from.bottom + 6));
  Object.assign(box.style, { left: `${left}px`, top: `${top}px` });
}

function listen() {
  for (const [id, key] of [["pick-colour", "colour"], ["pick-x", "x"], ["pick-y", "y"]]) {
    $(id).addEventListener("change", ({ target }) => choose({ [key]: target.names[Number(target.value)] }));
  }
  $("by-rank").addEventListener("click", ACTIONS.r);
  $("only-changed").addEventListener("click", ACTIONS.c);
  $("show-keys").addEventListener("click", ACTIONS["?"]);
  $("save").addEventListener("click", save);
  $("axes").addEventListener("toggle", placePopover);
  listenToParallel();
  listenToScatter();
  listenToTable();
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", () => { readAddress(); showAll(); });
  addEventListener("theme", showAll);
  let seen = $("sweep").clientWidth;
  new ResizeObserver(() => {
    if ($("sweep").clientWidth === seen) return;
    seen = $("sweep").clientWidth;
    later(showMember);
    later(showPictures);
    later(showRows);
  }).observe($("sweep"));
  addEventListener("beforeprint", () => { paper.light = true; showPictures(); });
  addEventListener("afterprint", () => { paper.light = false; showPictures(); });
}

async function begin() {
  if (!canUnpack()) {
    $("sweep-message").textContent = `This browser cannot open the members: it lacks ${UNPACKERS}`;
    return;
  }
  await openSweep();
  standings();
  addKeys();
  $("sweep-message").hidden = true;
  $("sweep").hidden = false;
  readAddress();
  showAll();
  listen();
}

await begin();

// For the console, and for programs that drive the page.
globalThis.members = { state, kept, choose, understood, axisOf, columnOf, curvesOf, parallel, scatter };
