"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const box = document.getElementById("timeline");
  const canvas = box.querySelector("canvas");
  const tip = document.getElementById("tip");
  const context = canvas.getContext("2d");
  const row = 22, axis = 24, names = 150;
  const colour = (call) => `hsl(${(call * 137.5 + 205) % 360} 58% 52%)`;
  // At first from where threads begin; what was before is to the left.
  const whole = Math.max(data.span, 1), first = Math.min(data.start, whole - 1);
  let from = first, span = whole - first;

  // What had not ended is hatched.
  const patterns = new Map();
  function hatched(call) {
    if (!patterns.has(call)) {
      const tile = document.createElement("canvas");
      tile.width = tile.height = 8;
      const pen = tile.getContext("2d");
      pen.fillStyle = colour(call);
      pen.fillRect(0, 0, 8, 8);
      pen.strokeStyle = "#fff";
      pen.lineWidth = 2;
      pen.beginPath();
      for (const at of [-8, 0, 8]) pen.moveTo(at, 8), pen.lineTo(at + 8, 0);
      pen.stroke();
      patterns.set(call, context.createPattern(tile, "repeat"));
    }
    return patterns.get(call);
  }

  const time = (us) =>
    us < 1e3 ? us.toFixed(us < 10 ? 1 : 0) + " µs" : us < 1e6 ? (us / 1e3).toFixed(2) + " ms" : (us / 1e6).toFixed(3) + " s";

  // The calls that waited longest come first.
  const totals = data.calls.map(() => 0);
  for (const [, , waited, call] of data.waits) totals[call] += waited;
  const legend = document.getElementById("legend");
  const order = totals.map((_, call) => call).sort((a, b) => totals[b] - totals[a]);
  for (const call of order.slice(0, 16)) {
    const item = document.createElement("span");
    const mark = document.createElement("i");
    mark.style.background = colour(call);
    item.append(mark, data.calls[call]);
    legend.append(item);
  }

  const plot = () => canvas.clientWidth - names;
  const x = (us) => names + ((us - from) / span) * plot();

  function draw() {
    const width = box.clientWidth, height = axis + data.threads.length * row;
    const ratio = Math.min(window.devicePixelRatio || 1, 32000 / height);
    canvas.style.height = height + "px";
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    let step = 10 ** Math.floor(Math.log10(span / 5));
    while ((span / step) * 90 > plot()) step *= step.toString().startsWith("2") ? 2.5 : 2;
    for (let at = Math.ceil(from / step) * step; at <= from + span; at += step) {
      context.fillStyle = "#e8edf3";
      context.fillRect(x(at), 0, 1, height);
      context.fillStyle = "#4a5568";
      const label = at ? time(at) : "0";
      if (x(at) + 4 + context.measureText(label).width < width) context.fillText(label, x(at) + 4, axis / 2);
    }
    context.save();
    context.beginPath();
    context.rect(names, axis, width, height);
    context.clip();
    data.threads.forEach(([, , begun, ended], i) => {
      context.fillStyle = "#dfe5ec";
      context.fillRect(x(begun), axis + i * row + 9, Math.max(x(ended) - x(begun), 1), 4);
    });
    for (const [i, at, waited, call, , open] of data.waits) {
      if (at > from + span || at + waited < from) continue;
      context.fillStyle = open ? hatched(call) : colour(call);
      context.fillRect(x(at), axis + i * row + 3, Math.max(x(at + waited) - x(at), 1), row - 6);
    }
    context.restore();
    context.fillStyle = "#1d2430";
    data.threads.forEach(([tid, name], i) => {
      const label = name.includes(tid) ? name : `${name} (${tid})`;
      context.fillText(label, 8, axis + i * row + row / 2, names - 16);
    });
  }

  canvas.addEventListener("wheel", (event) => {
    if (event.shiftKey) return;
    event.preventDefault();
    const at = from + ((event.offsetX - names) / plot()) * span;
    const wanted = Math.min(Math.max(span * 1.002 ** event.deltaY, 1), whole);
    from = Math.min(Math.max(at - ((at - from) * wanted) / span, 0), whole - wanted);
    span = wanted;
    draw();
  }, { passive: false });
  canvas.addEventListener("dblclick", () => {
    const isFirst = from === first && span === whole - first;
    from = isFirst ? 0 : first;
    span = whole - from;
    draw();
  });
  canvas.addEventListener("mousemove", (event) => {
    if (event.buttons & 1) {
      from = Math.min(Math.max(from - (event.movementX / plot()) * span, 0), whole - span);
      draw();
      return;
    }
    const i = Math.floor((event.offsetY - axis) / row);
    const at = from + ((event.offsetX - names) / plot()) * span;
    const slack = (span / plot()) * 2;
    const hit = data.waits.filter((wait) => wait[0] === i && wait[1] - slack <= at && at <= wait[1] + wait[2] + slack).pop();
    tip.style.display = hit ? "block" : "none";
    if (hit) {
      tip.textContent = `${data.calls[hit[3]]} ${hit[4]}\nwaited ${time(hit[2])} at ${time(hit[1])}${hit[5] ? ", and had not ended" : ""}`;
      tip.style.left = Math.min(event.offsetX + 12, box.clientWidth - tip.offsetWidth - 8) + "px";
      tip.style.top = event.offsetY + 14 + "px";
    }
  });
  canvas.addEventListener("mouseleave", () => (tip.style.display = "none"));
  window.addEventListener("resize", draw);
  draw();
})();
