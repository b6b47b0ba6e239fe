// The table: only the rows that are in sight exist.

const ROW = 33; // pixels of a row
const table = { box: $("rows"), grid: $("rows").querySelector("table"), columns: [], key: "" };
const [tableHead, tableBody] = table.grid.children;

// A column's name, which may break after its dots and underscores.
function broken(name) {
  const parts = readable(name, 80).split(/(?<=[._])/);
  return parts.flatMap((part, place) => (place ? [made("wbr"), part] : [part])).reduce((all, part) => {
    all[0].append(part);
    return all;
  }, [quoted("")]);
}

// The metric next to the member, then what was chosen, then the rest.
function columnsShown() {
  const all = [...sweep.columns.values()].filter((column) => state.all || column.differs || column.name === "member");
  const place = ({ name, role }) =>
    (name === "member" ? 0 : name === sweep.metric ? 1 : 2 + ["choice", "metric", "course", "place"].indexOf(role));
  return all.sort((one, other) => place(one) - place(other));
}

function widthOf(column) {
  const some = thinned(column.distinct, 150);
  const most = some.reduce((width, number) => Math.max(width, tellNumber(column, number).length), 4);
  const words = Math.max(...readable(column.name, 80).split(/(?<=[._])/).map((part) => part.length));
  return Math.max(6, Math.min(column.names ? 22 : 12, Math.max(most, words))) + 3;
}

function layTable() {
  const columns = columnsShown();
  const key = columns.map((column) => column.name).join("\0");
  if (table.key !== key || !table.columns.length) {
    Object.assign(table, { key, columns });
    const widths = columns.map(widthOf);
    table.grid.style.width = `max(100%, ${widths.reduce((sum, width) => sum + width, 0)}ch)`;
    const heads = columns.map((column, place) => {
      const button = made("button", { type: "button", class: "plain" }, ...broken(column.name), made("i"));
      button.addEventListener("click", () => sortBy(column.name));
      const head = made("th", { scope: "col", class: column.names ? null : "right" }, button);
      head.style.width = `${widths[place]}ch`;
      return head;
    });
    tableHead.replaceChildren(made("tr", {}, ...heads), made("tr", { class: "filters" }, ...columns.map(filterCell)));
    table.grid.setAttribute("aria-colcount", columns.length);
  }
  showHeads();
  showSame();
}

function filterCell(column) {
  const { distinct } = column;
  const end = (number) => (column.isWhole ? String(number) : short(number).replace("e+", "e"));
  const range = distinct.length ? `${end(distinct[0])}..${end(distinct.at(-1))}` : "";
  const input = made("input", {
    type: "text", placeholder: column.names ? "text" : range, "aria-label": `Filter ${readable(column.name, 80)}`,
    autocomplete: "off", spellcheck: "false",
  });
  input.dataset.column = column.name;
  input.addEventListener("input", () => {
    setFilter(column.name, input.value);
    changedFilters();
  });
  return made("td", {}, input);
}

function showHeads() {
  const [heads, filters] = tableHead.children;
  table.columns.forEach((column, place) => {
    const sign = state.sorts[0][0] === column.name ? state.sorts[0][1] : 0;
    const head = heads.children[place];
    if (sign) head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
    head.querySelector("i").textContent = sign ? (sign > 0 ? "▲" : "▼") : "";
    const input = filters.children[place].firstElementChild;
    const text = state.filters.get(column.name) ?? "";
    if (input.value.trim() !== text.trim()) input.value = text;
    const isWrong = kept.wrong.has(column.name);
    input.setAttribute("aria-invalid", String(isWrong));
    input.title = isWrong ? "Not understood; press ? outside of it to see what a filter may say" : "";
  });
}

// A click on the first column turns its order around; another column becomes the first, the others decide ties.
function sortBy(name) {
  const column = columnOf(name);
  const [first] = state.sorts;
  const isHighFirst = column.role === "metric" && !column.isLowBest;
  const sign = first?.[0] === name ? -first[1] : isHighFirst ? -1 : 1;
  state.sorts = [[name, sign], ...state.sorts.filter(([other]) => other !== name)].slice(0, 3);
  table.box.scrollTop = 0;
  ordered(kept.rows, state.sorts);
  showHeads();
  showRows();
  keepSoon();
}

function showRows() {
  const { box, columns } = table;
  const count = kept.rows.length;
  const room = parseFloat(getComputedStyle(box).maxHeight) || innerHeight; // it grows with what is in it
  const first = Math.max(0, Math.min(count, Math.floor(box.scrollTop / ROW) - 3));
  const last = Math.min(count, first + Math.ceil(room / ROW) + 5);
  const palette = paletteOf(columnOf(state.colour));
  const levels = levelsOf(columnOf(state.colour));
  const rows = [];
  if (first) rows.push(spacer(first));
  for (let place = first; place < last; place++) {
    const row = kept.rows[place];
    rows.push(rowOf(row, place, columns, colourIn(palette, levels[row])));
  }
  if (last < count) rows.push(spacer(count - last));
  if (!count) rows.push(nothing(columns.length));
  tableBody.replaceChildren(...rows);
  table.grid.setAttribute("aria-rowcount", count + 2);
  const isThere = state.row !== null && $(`row-${state.row}`);
  if (isThere) table.grid.setAttribute("aria-activedescendant", `row-${state.row}`);
  else table.grid.removeAttribute("aria-activedescendant");
}

function spacer(count) {
  const row = made("tr", { "aria-hidden": "true", class: "spacer" });
  row.style.height = `${ROW * count}px`;
  return row;
}

function nothing(width) {
  const text = sweep.rows ? "No member passes all filters." : "There is no member yet.";
  return made("tr", {}, made("td", { colspan: width, class: "faint", text }));
}

function rowOf(row, place, columns, colour) {
  const cells = columns.map((column) => {
    if (column.name === "member") {
      const dot = made("span", { class: "dot" });
      dot.style.background = colour;
      return made("th", { scope: "row" }, dot, String(memberOf(row)));
    }
    const cell = made("td", { class: column.names ? null : "right" }, quoted(tell(column, row)));
    if (column.name === "status") cell.className = statusClass(column, row);
    const name = column.names?.[column.numbers[row]];
    if (name?.length > 19) cell.title = readable(name, 500);
    return cell;
  });
  const element = made("tr", {
    id: `row-${row}`, "aria-rowindex": place + 3, "aria-selected": String(row === state.row),
  }, ...cells);
  element.addEventListener("click", () => choose({ row }));
  return element;
}

const STATES = { finished: "good", diverged: "bad", running: "wait", stopped: "wait" };
function statusClass(column, row) {
  const name = column.names?.[column.numbers[row]];
  return Object.hasOwn(STATES, name ?? "") ? STATES[name] : "";
}

// Scrolls the box and not the page.
function bringRow(row) {
  const place = kept.rows.indexOf(row);
  if (place < 0) return;
  const { box } = table;
  const head = tableHead.offsetHeight;
  const [top, bottom] = [ROW * place, ROW * (place + 1) + head];
  if (top < box.scrollTop) box.scrollTop = top;
  else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight + 2;
}

// What all members have in common.
function showSame() {
  const columns = sweep.rows ? [...sweep.columns.values()] : [];
  const same = columns.filter((column) => !column.differs && column.name !== "member");
  const parts = same.flatMap((column, place) =>
    [place ? ", " : "The same in all: ", quoted(readable(column.name, 60)), " ", quoted(tell(column, 0))]);
  $("same").replaceChildren(...(parts.length ? [...parts, "."] : []));
  $("only-changed").hidden = !same.length;
}

function listenToTable() {
  table.box.addEventListener("scroll", showRows, { passive: true });
}
