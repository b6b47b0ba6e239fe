"use strict";

const root = document.documentElement;
const run = JSON.parse(document.getElementById("run").textContent);

function button(label, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.addEventListener("click", () => action(made));
  return made;
}

// The fragment holds the section and how it is shown ("#samples&theme=dark", "#explore&unit=107"): a file:// page has
// no other memory that is its own, and a link that is passed on looks as it did.
function wanted() {
  const view = { section: "", theme: "" };
  for (const part of location.hash.slice(1).split("&")) {
    const [key, value] = part.split(/=(.*)/s);
    if (value === undefined) view.section ||= key;
    else view[key] = decoded(value);
  }
  return view;
}
function decoded(value) {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
function fragment({ section, ...shown }) {
  const given = Object.entries(shown).filter(([, value]) => value !== undefined && value !== "");
  const parts = given.map(([key, value]) => `${key}=${encodeURIComponent(String(value).toWellFormed())}`);
  return "#" + [section, ...parts].filter(Boolean).join("&");
}
const remember = (changes) =>
  history.replaceState(null, "", location.href.split("#")[0] + fragment({ ...wanted(), ...changes }));

const systemDark = matchMedia("(prefers-color-scheme: dark)");
const toggle = document.getElementById("theme");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);

function showTheme() {
  const { theme } = wanted();
  if (theme === "dark" || theme === "light") root.dataset.theme = theme;
  else delete root.dataset.theme;
  toggle.textContent = isDark() ? "Light" : "Dark";
  toggle.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
  toggle.hidden = false;
  dispatchEvent(new Event("theme"));
}

function showSection() {
  const target = document.getElementById(wanted().section);
  if (!target) return;
  target.scrollIntoView();
  target.focus({ preventScroll: true });
}

toggle.addEventListener("click", () => {
  remember({ theme: isDark() ? "light" : "dark" });
  showTheme();
});
systemDark.addEventListener("change", showTheme);
addEventListener("hashchange", () => { showTheme(); showSection(); });
for (const link of document.querySelectorAll('a[href^="#"]')) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const next = fragment({ ...wanted(), section: link.hash.slice(1) });
    if (next === location.hash) showSection();
    else location.hash = next;
  });
}

// The section being read is marked in the bar.
const links = [...document.querySelectorAll(".links a")];
const sections = links.map((link) => document.querySelector(link.hash));
const mark = () => {
  const passed = sections.filter((section) => section.getBoundingClientRect().top < innerHeight / 3).length;
  links.forEach((link, place) => {
    if (place === passed - 1) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  });
};
addEventListener("scroll", mark, { passive: true });

async function copy(text, from) {
  const label = from.textContent;
  try {
    await navigator.clipboard.writeText(text);
    from.textContent = "Copied";
  } catch {
    from.textContent = "Not allowed";
  }
  setTimeout(() => { from.textContent = label; }, 1200);
}

for (const place of document.querySelectorAll("[data-copy]")) {
  place.append(button("Copy", (self) => copy(run[place.dataset.copy], self)));
}
for (const sample of document.querySelectorAll(".sample")) {
  const text = sample.querySelector(".writing").textContent;
  sample.querySelector("header").append(button("Copy", (self) => copy(text, self)));
}

const enlarged = document.getElementById("enlarged");
for (const figure of document.querySelectorAll("figure")) {
  const image = figure.querySelector("img");
  const title = figure.querySelector("strong").textContent;
  const tools = document.createElement("div");
  tools.className = "tools";
  tools.append(
    button("Enlarge", () => {
      enlarged.querySelector(".paper").replaceChildren(image.cloneNode());
      enlarged.showModal();
    }),
    button("Save SVG", () => {
      const link = document.createElement("a");
      link.href = image.src;
      link.download = `${run.name} ${title}.svg`.replace(/[^\p{L}\p{N}.]+/gu, "-");
      link.click();
    }),
  );
  figure.querySelector("figcaption").prepend(tools);
}
enlarged.addEventListener("click", (event) => { if (event.target === enlarged) enlarged.close(); });

function addFilter(settings) {
  const key = settings.dataset.filter;
  const folds = [...settings.querySelectorAll("details")];
  const rows = [...settings.querySelectorAll("dl > div")];
  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = `Filter ${rows.length} entries`;
  input.setAttribute("aria-label", `Filter the ${key}`);
  const found = document.createElement("span");
  found.setAttribute("role", "status");
  const opened = folds.map((fold) => fold.open);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    folds.forEach((fold, place) => {
      fold.hidden = !fold.querySelector("dl > div:not([hidden])");
      fold.open = words.length ? true : opened[place];
    });
    found.textContent = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length}` : "";
  });
  const bar = document.createElement("div");
  bar.className = "filter";
  bar.append(input, button("Copy as JSON", (self) => copy(JSON.stringify(run[key], null, 2), self)), found);
  settings.before(bar);
}
document.querySelectorAll("[data-filter]").forEach(addFilter);

// Paper cannot be unfolded.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not([open])")) { fold.open = true; fold.dataset.folded = ""; }
});
addEventListener("afterprint", () => {
  for (const fold of document.querySelectorAll("details[data-folded]")) { fold.open = false; delete fold.dataset.folded; }
});

showTheme();
showSection();
mark();
