// Shows the record of one run (fuzz/run/story_json.h): lanes of CPUs, and the state at each step.
"use strict";
(() => {
  const record = JSON.parse(document.getElementById("record").textContent);
  const items = record.items;
  const SVG = "http://www.w3.org/2000/svg";
  const byId = (id) => document.getElementById(id);
  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const draw = (parent, tag, attributes, text) => {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  };

  // ---- The state after each item, as the places that differ from one to the next

  const states = [record.start];
  for (const item of items) {
    const before = states[states.length - 1];
    if (!item.changes) {
      states.push(before);
      continue;
    }
    const now = { ...before };
    for (const [place, what] of Object.entries(item.changes)) {
      if (what === null) delete now[place];
      else now[place] = what;
    }
    states.push(now);
  }
  const isStale = (what) => what !== undefined && what !== null && what.endsWith(", stale");

  /// [{from, to, what}] of a place: from the item at which it has this content, to the one behind.
  const spansOf = (place) => {
    const spans = [];
    for (let i = 0; i < states.length; ++i) {
      const what = states[i][place];
      const last = spans[spans.length - 1];
      if (last && last.to === i && last.what === what) last.to = i + 1;
      else if (what !== undefined) spans.push({ from: i, to: i + 1, what });
    }
    return spans;
  };
  const places = new Set(states.flatMap((state, i) => i === 0 ? Object.keys(state) : Object.keys(items[i - 1].changes || {})));
  const placesBelow = (prefix) => [...places].filter((place) => place.startsWith(prefix)).sort(
    (a, b) => a.localeCompare(b, undefined, { numeric: true }));

  // ---- Where things are. Below the head each item has a height by its text

  const HEAD = 30, GUTTER = 58, LINE = 16, CHARACTERS = 32, TEXT = 262, BAR = 9, SLOT = 26, GAP = 16;
  const spaces = [...places].map((place) => /^mm(\d+)\/generation$/.exec(place)).filter(Boolean).map((match) => match[1]).sort()
    .filter((mm) => spansOf(`mm${mm}/generation`).length > 1 || spansOf(`mm${mm}/cpus`).some((span) => span.what !== "{}"));
  const linesOf = (text, width) => {
    let lines = 1, used = 0;
    for (const word of text.split(" ")) {
      if (used !== 0 && used + 1 + word.length > width) { ++lines; used = 0; }
      used += (used === 0 ? 0 : 1) + word.length;
      while (used > width) { ++lines; used -= width; }
    }
    return lines;
  };
  const textOf = (item) => item.text.trim().replace(/^(==|~~) /, "").replace(/^at \+\d+: /, "");
  const notesOf = (item) => item.notes || [];
  const tops = [HEAD + 6];
  for (const item of items) {
    const mark = item.mark === "first" || item.mark === "then" || item.mark === "both" ? 8 : 0;
    const lines = linesOf(textOf(item), CHARACTERS - mark);
    const below = notesOf(item).reduce((sum, note) => sum + linesOf(note, CHARACTERS + 3), 0);
    tops.push(tops[tops.length - 1] + lines * LINE + below * 15 + (mark || item.kind === "operation" || item.kind === "deviation" ? 8 : 5));
  }
  const height = tops[tops.length - 1] + 20;
  const topOf = (index) => tops[Math.max(0, Math.min(index, tops.length - 1))];
  // State i is that behind item i - 1.
  const stateTop = (index) => index === 0 ? HEAD : index > items.length ? height - 12 : tops[index - 1] + 7;

  const lanes = [];
  let x = GUTTER + spaces.length * SLOT + GAP;
  for (let cpu = 0; cpu < record.cpus; ++cpu) {
    const bars = [];
    const ends = [];
    for (const place of [...placesBelow(`cpu${cpu}/tlb/`), ...placesBelow(`cpu${cpu}/tables/`)]) {
      for (const span of joined(spansOf(place))) {
        let column = ends.findIndex((end) => end <= span.from);
        if (column < 0) column = ends.length;
        ends[column] = span.to + 2;
        bars.push({ ...span, column, isTable: place.includes("/tables/") });
      }
    }
    const lane = { cpu, x, text: x + 12, bars, barsAt: x + 12 + TEXT + SLOT + 6 };
    lane.right = lane.barsAt + Math.max(1, ends.length) * BAR + 4;
    lanes.push(lane);
    x = lane.right + GAP;
  }
  const width = x;

  /// One bar as long as something is cached, with the parts in which it is stale.
  function joined(spans) {
    const bars = [];
    for (const span of spans) {
      const last = bars[bars.length - 1];
      if (last && last.to === span.from) {
        last.to = span.to;
        last.parts.push(span);
      } else {
        bars.push({ from: span.from, to: span.to, what: span.what, parts: [span] });
      }
    }
    return bars;
  }

  // ---- The drawing below the texts

  const timeline = byId("timeline");
  timeline.style.width = `${width}px`;
  timeline.style.height = `${height}px`;
  // On paper all lanes are shown: 970 is the width of a sheet across, A4 or letter, without its margins.
  timeline.style.setProperty("--print-zoom", Math.min(1, 970 / width));
  addEventListener("beforeprint", () => document.querySelector("details").open = true);
  const svg = draw(timeline, "svg", { width, height });
  const defs = draw(svg, "defs", {});
  const pattern = (id, size, path, stroke, fill) => {
    const node = draw(defs, "pattern", { id, width: size, height: size, patternUnits: "userSpaceOnUse" });
    draw(node, "rect", { width: size, height: size, fill });
    draw(node, "path", { d: path, stroke, "stroke-width": 1.3, fill: "none" });
  };
  pattern("off", 8, "M0 8 L8 0", "#c3cddb", "#e9edf3");
  pattern("stale", 6, "M0 0 L6 6 M0 6 L6 0", "#b23a00", "#f7d9cb");
  pattern("lazy", 5, "M0 2.5 H5", "#8292a8", "#f5f7fa");
  for (const [id, fill] of [["arrow", "#1f5fa8"], ["grey", "#55657c"], ["red", "#b23a00"]]) {
    const marker = draw(defs, "marker", { id, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse", markerUnits: "userSpaceOnUse" });
    draw(marker, "path", { d: "M0 0 L8 4 L0 8 z", fill });
  }
  const back = draw(svg, "g", {});
  const tip = (node, text) => { draw(node, "title", {}, text); node.style.pointerEvents = "auto"; };
  const bar = (className, left, wide, span, text) => {
    const top = stateTop(span.from);
    const node = draw(back, "rect", { class: className, x: left, y: top, width: wide, height: Math.max(4, stateTop(span.to) - top), rx: 2 });
    if (text) tip(node, text);
    return node;
  };
  const vertical = (left, span, text, className = "small") => {
    const top = stateTop(span.from);
    if (stateTop(span.to) - top < text.length * 6 + 8) return;
    draw(back, "text", { class: className, transform: `translate(${left} ${top + 5}) rotate(90)` }, text);
  };

  for (const lane of lanes) {
    draw(back, "rect", { class: "lane", x: lane.x, y: HEAD, width: lane.right - lane.x, height: height - HEAD });
    const off = spansOf(`cpu${lane.cpu}/interrupts`).filter((span) => span.what === "off");
    for (const span of off) bar("off", lane.x, TEXT + 12, span, `cpu${lane.cpu}: interrupts off`);
    for (const span of spansOf(`cpu${lane.cpu}/handler`)) bar("handler", lane.x + 1, 6, span, `in the handler of the ${span.what}`);
    for (const span of spansOf(`cpu${lane.cpu}/lazy`)) {
      bar("lazy", lane.x + 7, 5, span, `cpu${lane.cpu} is lazy`);
      vertical(lane.x + 3, span, "lazy");
    }
    slots(lane);
    for (const one of lane.bars) {
      const left = lane.barsAt + one.column * BAR;
      for (const part of one.parts) {
        bar(`cached${one.isTable ? " tables" : ""}${isStale(part.what) ? " stale" : ""}`, left, BAR - 2, part, `cpu${lane.cpu}: ${part.what}`);
      }
      const name = /^(?:kernel )?(?:page \d+|level \d+)/.exec(one.what);
      if (name && !one.isTable) vertical(left + 1, { from: one.from, to: one.to }, name[0].replace("page ", "p"), "small");
    }
  }
  /// What the CPU has recorded of the ASID that is loaded.
  function slots(lane) {
    const spans = [];
    for (let i = 0; i < states.length; ++i) {
      const asid = states[i][`cpu${lane.cpu}/asid`];
      const what = `ASID ${asid}: ${states[i][`cpu${lane.cpu}/asid/${asid}`] || "-"}`;
      const last = spans[spans.length - 1];
      if (last && last.what === what) last.to = i + 1;
      else spans.push({ from: i, to: i + 1, what });
    }
    for (const span of spans) {
      bar("generation", lane.text + TEXT + 3, SLOT - 5, span, `cpu${lane.cpu}: ${span.what}`);
      const match = /^ASID (.*): (.*), generation (\d+)$/.exec(span.what);
      const label = match ? `${match[2].replace("the kernel's mm", "kernel")} gen ${match[3]}` : span.what;
      vertical(lane.text + TEXT + 10, span, label);
    }
  }
  spaces.forEach((mm, index) => {
    for (const span of spansOf(`mm${mm}/generation`)) {
      bar("generation", GUTTER + index * SLOT, SLOT - 5, span, `mm${mm}: generation ${span.what}`);
      const top = stateTop(span.from);
      draw(back, "text", { class: "small", x: GUTTER + index * SLOT + 3, y: top + 12 }, span.what.length > 3 ? `..${span.what.slice(-2)}` : span.what);
    }
  });

  // ---- Texts

  const GLYPHS = { operation: "\u25B6", deviation: "\u25C7", load: "\u25CB", store: "\u25CF", buffered: "\u25D0", drain: "\u25D1",
    modify: "\u25C9", fence: "\u2550", cr3: "\u21BB", cr4: "\u21BB", access: "\u25AB", fill: "\u25AB", invalidate: "\u2715",
    broadcast: "\u21C9", arrival: "\u21CA", send: "\u2197", interrupt: "\u2198", return: "\u21A9", off: "\u2298", on: "\u25CE",
    wait: "\u2026", host: "\u25A4", end: "\u25A0" };
  const heads = make("div", "heads");
  heads.setAttribute("aria-hidden", "true");
  heads.style.width = `${width}px`;
  const head = (left, text, className = "") => {
    const node = make("div", className, text);
    node.style.left = `${left}px`;
    heads.append(node);
  };
  head(8, "step");
  spaces.forEach((mm, index) => head(GUTTER + index * SLOT, `mm${mm}`, "sub"));
  for (const lane of lanes) {
    head(lane.text, `cpu${lane.cpu}`);
    head(lane.text + TEXT, "ASID", "sub");
    head(lane.barsAt, "TLB", "sub");
  }
  timeline.append(heads);

  const nodes = items.map((item, index) => {
    const lane = lanes[item.cpu];
    const marked = ["first", "then", "both"].includes(item.mark);
    const node = make("div", `item ${item.kind}${marked ? ` ${item.mark}` : ""}${item.nothing ? " nothing" : ""}`);
    node.setAttribute("role", "listitem");
    node.id = `item-${index}`;
    node.style.left = `${lane.text}px`;
    node.style.top = `${topOf(index)}px`;
    node.style.width = `${TEXT}px`;
    node.append(make("span", "glyph", GLYPHS[item.kind] || "\u00B7"));
    if (marked) node.append(make("span", "badge", item.mark === "both" ? "first, then" : item.mark));
    node.append(document.createTextNode(textOf(item)));
    for (const note of notesOf(item)) node.append(make("span", note.startsWith("stale") ? "note stale" : "note", note));
    node.title = [item.text.trim(), item.where && `${item.where} ${item.function || ""}`, item.nothing && `did nothing: ${item.nothing}`].filter(Boolean).join("\n");
    node.addEventListener("click", () => select(index));
    timeline.append(node);
    if (index === 0 || items[index - 1].step !== item.step) {
      const step = make("div", "step", item.step);
      step.style.top = `${topOf(index) + 1}px`;
      timeline.append(step);
    }
    return node;
  });

  // ---- Arrows, above the lanes

  const front = draw(timeline, "svg", { width, height });
  front.style.zIndex = 4;
  const sideOf = (index, side) => {
    const lane = lanes[items[index].cpu];
    return { x: side === "left" ? lane.text : lane.text + TEXT, y: topOf(index) + 9 };
  };
  for (const link of record.links) {
    const from = items[link.from].cpu, to = items[link.to].cpu;
    let path;
    if (from === to) {
      const a = sideOf(link.from, "left"), b = sideOf(link.to, "left");
      path = `M${a.x} ${a.y} C${a.x - 12} ${a.y + 4} ${b.x - 12} ${b.y - 4} ${b.x} ${b.y}`;
    } else {
      const a = sideOf(link.from, from < to ? "right" : "left"), b = sideOf(link.to, from < to ? "left" : "right");
      const bend = from < to ? 46 : -46;
      path = `M${a.x} ${a.y} C${a.x + bend} ${a.y + 6} ${b.x - bend} ${b.y - 6} ${b.x} ${b.y}`;
    }
    const node = draw(front, "path", { class: `link ${link.kind}`, d: path, "marker-end": `url(#${link.kind === "drain" ? "grey" : "arrow"})` });
    tip(node, `${items[link.from].text.trim()}\n\u2192 ${items[link.to].text.trim()}`);
  }
  const firstIndex = items.findIndex((item) => item.mark === "first" || item.mark === "both");
  const thenIndex = items.findIndex((item) => item.mark === "then" || item.mark === "both");
  if (firstIndex >= 0 && thenIndex >= 0 && firstIndex !== thenIndex) {
    const isSame = items[firstIndex].cpu === items[thenIndex].cpu;
    const right = items[firstIndex].cpu < items[thenIndex].cpu || isSame;
    const a = sideOf(firstIndex, right ? "right" : "left"), b = sideOf(thenIndex, right && !isSame ? "left" : "right");
    const bend = right ? 60 : -60;
    draw(front, "path", { id: "conflict", class: "conflict", "marker-end": "url(#red)",
      d: isSame ? `M${a.x} ${a.y} C${a.x + 40} ${a.y + 20} ${b.x + 40} ${b.y - 20} ${b.x} ${b.y}`
                : `M${a.x} ${a.y} C${a.x + bend} ${a.y + 10} ${b.x - bend} ${b.y - 10} ${b.x} ${b.y}` });
  }
  const cursor = draw(front, "rect", { class: "cursor", x: 2, width: width - 4, height: LINE + 4 });

  // ---- The state beside the step

  const side = byId("state");
  let current = 0;
  const row = (list, name, entries) => {
    if (entries.length === 0) return;
    list.append(make("dt", "", name));
    const cell = make("dd");
    for (const entry of entries) {
      const line = make("div", [entry.changed && "changed", entry.gone && "gone", isStale(entry.what) && "stale"].filter(Boolean).join(" "), entry.what);
      cell.append(line);
    }
    list.append(cell);
  };
  /// What is there now, and what was there until this item.
  const entriesOf = (prefix, name = (place, what) => what) => {
    const now = states[current + 1], before = states[current];
    const found = [];
    for (const place of placesBelow(prefix)) {
      const what = now[place], was = before[place];
      if (what !== undefined) found.push({ what: name(place, what), changed: what !== was });
      else if (was !== undefined) found.push({ what: name(place, was), gone: true });
    }
    return found;
  };
  const exactly = (place) => {
    const what = states[current + 1][place], was = states[current][place];
    if (what === undefined) return was === undefined ? [] : [{ what: was, gone: true }];
    return [{ what, changed: what !== was }];
  };
  const last = (place) => place.slice(place.lastIndexOf("/") + 1);
  function cpuCard(cpu, acting) {
    const card = make("div", `card${acting ? " acting" : ""}`);
    const title = make("h3", "", `cpu${cpu}`);
    const flags = [`interrupts ${states[current + 1][`cpu${cpu}/interrupts`] || "?"}`];
    for (const [place, text] of [["lazy", "lazy"], ["mode", "user mode"]]) if (states[current + 1][`cpu${cpu}/${place}`]) flags.push(text);
    title.append(make("span", "flags", flags.join(", ")));
    card.append(title);
    const list = make("dl");
    row(list, "runs", exactly(`cpu${cpu}/runs`));
    row(list, "CR3", exactly(`cpu${cpu}/cr3`));
    row(list, "lazy", exactly(`cpu${cpu}/lazy`).filter((entry) => entry.changed || entry.gone));
    row(list, "handler", exactly(`cpu${cpu}/handler`));
    row(list, "ASIDs", entriesOf(`cpu${cpu}/asid/`, (place, what) => `${last(place) === states[current + 1][`cpu${cpu}/asid`] ? "\u25B8" : " "}${last(place)}: ${what}`));
    row(list, "TLB", entriesOf(`cpu${cpu}/tlb/`));
    row(list, "tables", entriesOf(`cpu${cpu}/tables/`));
    row(list, "buffer", entriesOf(`cpu${cpu}/buffer/`));
    row(list, "calls", exactly(`cpu${cpu}/calls`));
    row(list, "waits", entriesOf(`cpu${cpu}/waits/`));
    row(list, "owed", exactly(`cpu${cpu}/owed`));
    row(list, "deferred", exactly(`cpu${cpu}/deferred`));
    row(list, "answered", exactly(`cpu${cpu}/answered`));
    row(list, "the host", exactly(`cpu${cpu}/host`));
    card.append(list);
    return card;
  }
  function spaceCard(mm) {
    const card = make("div", "card");
    card.append(make("h3", "", `mm${mm}`));
    const list = make("dl");
    row(list, "generation", exactly(`mm${mm}/generation`));
    row(list, "mask", exactly(`mm${mm}/cpus`));
    row(list, "ASID", exactly(`mm${mm}/asid`));
    row(list, "pages", entriesOf(`mm${mm}/page/`, (place, what) => `${last(place)} \u2192 ${what}`));
    card.append(list);
    return card;
  }
  function showState() {
    const item = items[current];
    side.replaceChildren();
    if (!item) return;
    side.append(make("h2", "", `step ${item.step}, cpu${item.cpu}`), make("div", "what", item.text.trim()));
    const where = [item.where, item.function].filter(Boolean).join("  ");
    if (where) side.append(make("div", "where", where));
    if (item.nothing) side.append(make("div", "where", `did nothing: ${item.nothing}`));
    const verdict = record.verdict || {};
    for (const [name, index] of [["first", firstIndex], ["then", thenIndex]]) {
      if (index === current && verdict[name]) side.append(make("div", "what", `${name}: ${verdict[name].what}`));
    }
    for (let cpu = 0; cpu < record.cpus; ++cpu) side.append(cpuCard(cpu, cpu === item.cpu));
    for (const mm of spaces) side.append(spaceCard(mm));
    const card = make("div", "card");
    const list = make("dl");
    row(list, "online", exactly("online"));
    row(list, "kernel", entriesOf("kernel/page/", (place, what) => `${last(place)} \u2192 ${what}`));
    card.append(list);
    side.append(card);
  }

  // ---- Stepping and searching

  // #N is the first line of step N, and #N.1 the next one of it.
  const addresses = items.map((item, index) => {
    const earlier = items.slice(0, index).filter((other) => other.step === item.step).length;
    return `#${item.step}${earlier ? `.${earlier}` : ""}`;
  });

  function select(index) {
    if (items.length === 0) return;
    nodes[current].classList.remove("current");
    current = Math.max(0, Math.min(index, items.length - 1));
    const node = nodes[current];
    node.classList.add("current");
    node.setAttribute("aria-current", "step");
    cursor.setAttribute("y", topOf(current) - 1);
    cursor.setAttribute("height", topOf(current + 1) - topOf(current));
    const scroller = byId("scroller");
    const top = topOf(current);
    if (top < scroller.scrollTop + HEAD + 40 || top > scroller.scrollTop + scroller.clientHeight - 80) {
      scroller.scrollTop = top - scroller.clientHeight / 2;
    }
    const lane = lanes[items[current].cpu];
    if (lane.x < scroller.scrollLeft) scroller.scrollLeft = lane.x - GUTTER;
    if (lane.right > scroller.scrollLeft + scroller.clientWidth) scroller.scrollLeft = lane.right - scroller.clientWidth;
    history.replaceState(null, "", addresses[current]);
    byId("previous").disabled = current === 0;
    byId("next").disabled = current === items.length - 1;
    showState();
  }
  const sameCpu = (by) => {
    for (let i = current + by; i >= 0 && i < items.length; i += by) if (items[i].cpu === items[current].cpu) return i;
    return current;
  };
  let matches = [];
  function search(text) {
    const wanted = text.trim().toLowerCase();
    matches = [];
    items.forEach((item, index) => {
      const all = [item.text, item.where, item.function, ...notesOf(item)].join(" ").toLowerCase();
      const hit = wanted !== "" && all.includes(wanted);
      nodes[index].classList.toggle("match", hit);
      if (hit) matches.push(index);
    });
    byId("found").textContent = wanted === "" ? "" : `${matches.length} found`;
  }
  const nextMatch = (by) => {
    if (matches.length === 0) return;
    const ahead = by > 0 ? matches.find((index) => index > current) : [...matches].reverse().find((index) => index < current);
    select(ahead === undefined ? matches[by > 0 ? 0 : matches.length - 1] : ahead);
  };
  const KEYS = {
    ArrowRight: () => select(current + 1), j: () => select(current + 1),
    ArrowLeft: () => select(current - 1), k: () => select(current - 1),
    ArrowDown: () => select(sameCpu(1)), ArrowUp: () => select(sameCpu(-1)),
    Home: () => select(0), End: () => select(items.length - 1),
    f: () => firstIndex >= 0 && select(firstIndex), t: () => thenIndex >= 0 && select(thenIndex),
    n: () => nextMatch(1), N: () => nextMatch(-1), "/": () => byId("search").focus(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === byId("search")) {
      if (event.key === "Enter") {
        nextMatch(event.shiftKey ? -1 : 1);
        byId("timeline").focus({ preventScroll: true });
      } else if (event.key === "Escape") byId("timeline").focus();
      else return;
    } else if (KEYS[event.key]) {
      KEYS[event.key]();
    } else {
      return;
    }
    event.preventDefault();
  });
  byId("search").addEventListener("input", (event) => search(event.target.value));
  byId("previous").addEventListener("click", () => select(current - 1));
  byId("next").addEventListener("click", () => select(current + 1));
  for (const [id, index] of [["goto-first", firstIndex], ["goto-then", thenIndex]]) {
    byId(id).disabled = index < 0;
    byId(id).addEventListener("click", () => select(index));
  }

  // ---- What stands around it

  const verdict = record.verdict;
  byId("title").textContent = verdict ? record.title : "Every CPU finished and no oracle fired";
  byId("title").className = verdict ? "bad" : "good";
  byId("detail").textContent = verdict ? verdict.detail : "";
  byId("promise").textContent = verdict ? `The promise: ${verdict.promise}.` : "";
  byId("configuration").textContent = `${record.file}: ${record.configuration}; ${record.memory}. ${record.steps} visible operations, trace ${record.trace}.`
    + (record.limits.length ? ` Reached: ${record.limits.join("; ")}.` : "");
  byId("scenario").textContent = record.scenario.join("\n");
  const legend = (text, drawing) => {
    const entry = make("span");
    const picture = draw(entry, "svg", { width: 26, height: 12 });
    drawing(picture);
    entry.append(document.createTextNode(text));
    byId("legend").append(entry);
  };
  const box = (className) => (picture) => draw(picture, "rect", { class: className, x: 1, y: 1, width: 24, height: 10 });
  const arrow = (className, marker) => (picture) => draw(picture, "path", { class: className, d: "M1 6 H24", "marker-end": `url(#${marker})` });
  legend("interrupts off", box("off"));
  legend("in a handler", box("handler"));
  legend("lazy", box("lazy"));
  legend("cached", box("cached"));
  legend("cached pointer to a table", box("cached tables"));
  legend("cached and stale", box("cached stale"));
  legend("generation (of the mm; recorded by the CPU for its ASID)", box("generation"));
  legend("interrupt, from the command to the handler", arrow("link", "arrow"));
  legend("broadcast", arrow("link broadcast", "arrow"));
  legend("a store leaves its buffer", arrow("link drain", "grey"));
  if (byId("conflict")) legend("the two accesses in conflict", arrow("conflict", "red"));
  const warn = (text) => byId("warnings").append(make("p", "", text));
  if (verdict && (firstIndex < 0) !== (thenIndex < 0)) {
    warn(`Of the conflict only one event is known, marked '${firstIndex < 0 ? "then" : "first"}': no arrow leads to it.`);
  }
  if (!record.scenario.some((line) => line.startsWith("cpu "))) warn("The scenario has no operation: nothing was done.");
  for (const one of record.unheeded) {
    const deviations = record.scenario.filter((line) => line.startsWith("at "));
    warn(`'${deviations[one.deviation] || "a deviation"}' did nothing: ${one.why}`);
  }
  const wanted = addresses.indexOf(location.hash);
  select(wanted >= 0 ? wanted : thenIndex >= 0 ? thenIndex : 0);
  byId("timeline").focus({ preventScroll: true });
})();
