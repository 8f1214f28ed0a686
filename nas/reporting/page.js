"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
const panel = document.getElementById("panel");
const views = [];

function element(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function pairs(list) {
  const box = element("dl", undefined, "pairs");
  for (const [key, value] of list) {
    const row = element("div");
    row.append(element("dt", key), element("dd", value));
    box.append(row);
  }
  return box;
}

function show(number, move) {
  const trial = page.trials[number];
  if (!trial) return;
  panel.replaceChildren(element("h3", trial.name), element("p", `${trial.class} · ${trial.state} · ${trial.hash}`, "quiet"));
  for (const note of trial.notes) panel.append(element("p", note, "note quiet"));
  panel.append(pairs(trial.values), element("h4", "Network"), pairs(trial.network));
  trial.stages.forEach((stage, i) => {
    panel.append(element("h4", `Stage ${i + 1}`), element("p", stage.heading), pairs(stage.lines));
  });
  for (const view of views) view.signal("picked", Number(number)).runAsync();
  if (move) panel.scrollIntoView({ block: "nearest", behavior: "smooth" });
}

for (const box of document.querySelectorAll("[data-chart]")) {
  const spec = page.specs[box.dataset.chart];
  const actions = { export: true, source: false, compiled: false, editor: false };
  const options = { renderer: "svg", actions, downloadFileName: box.dataset.chart };
  vegaEmbed(box, spec, options).then(({ view }) => {
    if (!(spec.params || []).some((p) => p.name === "picked")) return;
    views.push(view);
    view.addEventListener("click", (_, item) => item && item.datum && show(item.datum.trial, true));
    if (page.first !== null) view.signal("picked", page.first).runAsync();
  });
}
for (const button of document.querySelectorAll("button[data-trial]")) {
  button.addEventListener("click", () => show(button.dataset.trial, true));
}
if (page.first !== null) show(page.first, false);
