// The page lives: one event stream says what changed, the page reads itself again and takes over the parts
// that are marked. Everything works without this script; it only makes looking again unnecessary.
"use strict";

const state = document.getElementById("state");
const topics = document.body.dataset.topics.split(" ").filter(Boolean);
const AFTER = 150; // ms to gather changes that come together
const APART = 1000; // ms between two readings, at least
const AWAY = "database away, as it was last seen";
const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

function say(name, text) {
  if (state.dataset.state === name) return;
  state.dataset.state = name;
  state.textContent = text;
  document.body.toggleAttribute("data-stale", name === "away");
}

// A document is parsed by the browser's own loader: no text becomes markup in this script.
function read() {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", location.pathname + location.search);
    request.responseType = "document";
    request.timeout = 10000;
    request.onload = () => (request.response ? resolve(request) : reject(new Error("no document")));
    request.onerror = request.ontimeout = () => reject(new Error("not read"));
    request.send();
  });
}

function isInUse(part) {
  const active = document.activeElement;
  const typing = active && active.matches("input, select, textarea, pre") && part.contains(active);
  const selected = String(getSelection()) && part.contains(getSelection().anchorNode);
  return typing || selected || part.querySelector("details[open]") !== null;
}

function takeOver(fresh) {
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (!other || isInUse(part) || part.isEqualNode(other)) continue;
    const focus = document.activeElement;
    const inside = focus && part.contains(focus) ? [...part.querySelectorAll("a, [tabindex], summary, button")].indexOf(focus) : -1;
    const scroll = [...part.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
    const taken = document.adoptNode(other);
    part.replaceWith(taken);
    taken.querySelectorAll(".scroll").forEach((each, i) => { each.scrollLeft = scroll[i] || 0; });
    if (inside >= 0) taken.querySelectorAll("a, [tabindex], summary, button")[inside]?.focus({ preventScroll: true });
    prepare(taken);
  }
}

let due = null;
let last = 0;
let again = false;
async function refresh() {
  if (due !== null) { again = true; return; }
  due = setTimeout(async () => {
    last = performance.now();
    try {
      const answer = await read();
      if (answer.status === 503) say("away", AWAY);
      else if (new URL(answer.responseURL).pathname !== location.pathname) location.assign(answer.responseURL);
      else if (topics.includes("away") && answer.status === 200) location.reload();
      else { takeOver(answer.response); say("live", "live"); }
    } catch {
      say("away", "server away");
    }
    due = null;
    if (again) { again = false; refresh(); }
  }, Math.max(AFTER, last + APART - performance.now()));
}

function follow() {
  const events = new EventSource("/events");
  let opened = false;
  events.onopen = () => {
    say("live", "live");
    if (opened || topics.includes("away")) refresh();
    opened = true;
  };
  events.onerror = () => {
    say("away", "server away");
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
  };
  events.addEventListener("changed", (event) => {
    const changed = JSON.parse(event.data);
    if (changed.includes("away")) say("away", AWAY);
    else if (changed.includes("back") || changed.some((topic) => topics.includes(topic))) {
      if (document.hidden) again = true;
      else refresh();
    }
  });
  addEventListener("pagehide", () => events.close(), { once: true });
}

function tick(root) {
  const now = Date.now();
  for (const each of root.querySelectorAll("time[datetime]")) {
    const seconds = Math.max(0, (now - Date.parse(each.dateTime)) / 1000);
    const unit = units.find(([length]) => seconds >= length);
    const text = unit ? `${Math.floor(seconds / unit[0])} ${unit[1]} ago` : "now";
    if (each.textContent !== text) each.textContent = text;
  }
}

// A name for a moment on the axis: the day at midnight, else the hour.
function moment(seconds) {
  const at = new Date(seconds * 1000);
  if (at.getHours() === 0) return at.toLocaleDateString(undefined, { day: "numeric", month: "short" });
  return `${at.getHours()}:00`;
}

function draw(figure) {
  const place = figure.querySelector("div");
  const data = JSON.parse(figure.dataset.plot);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const line = (name, fill) => ({ stroke: colour(name), width: 2, fill: fill && colour("--wash"), points: { show: false }, spanGaps: true });
  const top = (u, min, max) => [0, Math.max(4, max * 1.1)];
  const whole = (u, ticks) => ticks.map((each) => (Number.isInteger(each) ? each + (figure.dataset.unit || "") : ""));
  figure.plot = new uPlot({
    width: place.clientWidth, height: place.clientHeight, legend: { show: false }, cursor: { show: false },
    scales: { y: { range: top } },
    axes: [{ ...axis, grid: { show: false }, space: 70, values: (u, ticks) => ticks.map(moment) }, { ...axis, size: 62, values: whole }],
    series: [{}, line("--accent", true), line("--bad", false)].slice(0, data.length),
  }, data, place);
}

function prepare(root) {
  tick(root);
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
  for (const form of root.querySelectorAll(".move")) form.querySelector("button").hidden = true;
  for (const figure of root.querySelectorAll("[data-plot]")) draw(figure);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && again) { again = false; refresh(); }
});
document.addEventListener("submit", () => document.body.toggleAttribute("data-loading", true));
addEventListener("beforeunload", () => document.body.toggleAttribute("data-loading", true));
addEventListener("pageshow", () => document.body.removeAttribute("data-loading"));
function redraw() {
  for (const figure of document.querySelectorAll("[data-plot]")) {
    figure.plot?.destroy();
    draw(figure);
  }
}
addEventListener("resize", () => { clearTimeout(redraw.soon); redraw.soon = setTimeout(redraw, 120); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

prepare(document);
setInterval(() => tick(document), 5000);
if (topics.length) follow();
