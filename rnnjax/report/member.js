// The chosen member: what it is, how it did, how it is opened, and its curves beside those of the best one.

const OPENING = [
  ["run", "make it an ordinary run and train it again"],
  ["show", "what it is, and what it reached"],
  ["view", "look at every unit of it"],
];
const SAFE_WORD = /^[\w@%+=:,./-]+$/;
const word = (text) => (SAFE_WORD.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);
const commandOf = (verb, row) => `rnnjax ${verb} ${word(`${sweep.path}:${memberOf(row)}`)}`;

function ordinal(number) {
  const ending = number % 100 > 10 && number % 100 < 14 ? "th" : ["th", "st", "nd", "rd"][number % 10] ?? "th";
  return number === 1 ? "the best" : `${whole(number)}${ending}`;
}

function standing(row) {
  const total = (standings(), standings.place.size);
  const place = standings.place.get(row);
  if (!sweep.metric || !total) return "";
  if (place === undefined) return hasFailed(row) ? "diverged, so it has no rank" : "has no rank";
  return `${ordinal(place + 1)} of ${whole(total)} by ${readable(sweep.metric, 60)}`;
}

function showMember() {
  const { row } = state;
  const box = $("member");
  if (row === null) {
    box.replaceChildren(made("p", { class: "faint", text: "There is no member yet." }));
    return;
  }
  const isOut = !kept.is[row];
  const head = made("h3", { text: `Member ${memberOf(row)}` }, made("small", { text: standing(row) }));
  if (isOut) head.append(made("small", { class: "out", text: "left out by the filters" }));
  const commands = OPENING.map(([verb, title]) => {
    const text = commandOf(verb, row);
    const copier = made("button", { type: "button", text: "Copy", "aria-label": `Copy: rnnjax ${verb}` });
    copier.addEventListener("click", () => copy(text, copier));
    return made("li", { title }, made("code", {}, quoted(readable(text, 300))), copier);
  });
  const columns = [...sweep.columns.values()];
  const shown = columns.filter((column) => column.name !== "member" && (state.all || column.differs));
  const facts = (...roles) => shown.filter((column) => roles.includes(column.role)).map((column) => {
    const value = made("dd", {}, quoted(tell(column, row)));
    if (!column.names && !isMissing(column, row)) value.title = String(column.numbers[row]);
    if (column.name === "status") value.className = statusClass(column, row);
    return made("div", {}, made("dt", {}, quoted(readable(column.name, 60))), value);
  });
  box.replaceChildren(
    head, made("ul", { class: "commands" }, ...commands),
    made("div", { class: "facts" }, ...[["choice"], ["metric", "course", "place"]].map((roles) =>
      made("dl", {}, ...facts(...roles)))),
    ...curvesShown(row),
  );
}

// ---- curves

const SVG = "http://www.w3.org/2000/svg";
const FRAME = { height: 210, left: 52, right: 10, top: 8, bottom: 24 };

function drawn(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// The metrics that belong to the one that counts: with it its twin on the other data.
function shownMetrics(curves) {
  const names = [...curves.keys()];
  const base = (sweep.metric ?? names[0]).replace(/^(best_)?(validation_)?/, "");
  const twins = [base, `validation_${base}`].filter((name) => curves.has(name));
  return twins.length ? twins : names.slice(0, 1);
}

function curvesShown(row) {
  if (!sweep.curves) return [];
  const own = curvesOf(row);
  if (!own.size) return [made("p", { class: "faint", text: "It has no curve." })];
  const names = shownMetrics(own);
  const [bestRow] = standings();
  const best = bestRow === row ? new Map() : curvesOf(bestRow);
  const series = [
    ...names.filter((name) => best.has(name)).map((name) => ({ name, pairs: best.get(name), kind: "best" })),
    ...names.map((name) => ({ name, pairs: own.get(name), kind: "own" })),
  ];
  const keys = names.map((name, place) => made("span", { class: `c${place}` }, quoted(readable(name, 40))));
  const words = best.size ? [made("span", { text: `member ${memberOf(bestRow)}, the best, is paler` })] : [];
  const { stride } = sweep.curves;
  if (stride > 1) words.push(made("span", { text: `every ${ordinal(stride)} line of the log` }));
  return [chart(series, names, row), made("p", { class: "key-line faint" }, ...keys, ...words)];
}

function chart(series, names, row) {
  const values = series.flatMap(({ pairs }) => pairs.map(([, value]) => value)).filter(Number.isFinite);
  const steps = series.flatMap(({ pairs }) => pairs.map(([step]) => step));
  const [least, greatest] = [Math.min(...values), Math.max(...values)];
  const isLog = least > 0 && greatest / least > 10;
  const to = isLog ? Math.log10 : (number) => number;
  const [low, high] = to(least) === to(greatest) ? [to(least) - 1, to(greatest) + 1] : [to(least), to(greatest)];
  const [first, last] = [Math.min(0, ...steps), Math.max(1, ...steps)];
  const { height, left, right, top, bottom } = FRAME;
  const width = Math.max(240, $("member").clientWidth - 30);
  const x = (step) => left + ((step - first) / (last - first)) * (width - left - right);
  const y = (value) => top + (1 - (to(value) - low) / (high - low)) * (height - top - bottom);
  const label = `${names.map((name) => readable(name, 40)).join(" and ")} of member ${memberOf(row)} over steps`;
  const viewBox = `0 0 ${width} ${height}`;
  const picture = drawn("svg", { viewBox, role: "img", class: "curves", "aria-label": label });
  for (const tick of isLog ? logTicks(low, high, 5) : niceTicks(low, high, 4)) {
    picture.append(drawn("path", { class: "rule", d: `M${left} ${y(tick)}H${width - right}` }),
      drawn("text", { x: left - 6, y: y(tick), class: "up" }, told(tick)));
  }
  for (const tick of niceTicks(first, last, 4)) {
    const side = x(tick) > width - 40 ? "end" : "across";
    picture.append(drawn("text", { x: x(tick), y: height - 6, class: side }, whole(tick)));
  }
  for (const { name, pairs, kind } of series) {
    const points = pairs.map(([step, value]) => `${x(step).toFixed(1)} ${y(value).toFixed(1)}`);
    const path = `M${points.join("L")}`;
    const d = pairs.length > 1 ? path : `${path}h2`;
    picture.append(drawn("path", { class: `${kind} c${names.indexOf(name)}`, d }));
  }
  return picture;
}
