"use strict";
// Draws a timeline on a canvas. What each moment means is as in intervals.py.

const ACTIVE = 0, SUSPENDED = 1, PARKED = 2, QUEUED = 3, RUNNING = 4, NO_TICK = 5;
const SAMPLES = 4; // moments looked at in each pixel, whose colours are mixed

// ---- The data: times in microseconds, rows by index.

function unpack(data) {
  const t = { ...data, begin: [], end: [] };
  let at = data.tick_origin;
  for (let i = 0; i < data.tick_steps.length; i += 2) {
    at += data.tick_steps[i];
    t.begin.push(at);
    at += data.tick_steps[i + 1];
    t.end.push(at);
  }
  for (const call of t.calls) {
    call.has = new Uint8Array(data.env_ids.length);
    for (let i = 0; i < call.rows.length; i += 2) call.has.fill(1, call.rows[i], call.rows[i + 1]);
  }
  return t;
}

/** The last index at which sorted numbers are at most x, or lo - 1. */
function lastUpTo(numbers, x, lo = 0, hi = numbers.length) {
  while (lo < hi) {
    const middle = (lo + hi) >> 1;
    if (numbers[middle] <= x) lo = middle + 1; else hi = middle;
  }
  return lo - 1;
}

/** The tick at a moment, and whether the moment lies in the time after it that is shown as a gap. */
function tickAt(t, time) {
  const tick = lastUpTo(t.begin, time);
  if (tick < 0) return { tick, gap: true };
  if (time <= t.end[tick]) return { tick, gap: false };
  const last = tick + 1 === t.begin.length;
  return { tick, gap: last || t.begin[tick + 1] - t.end[tick] > t.short_gap };
}

function valueAt(changes, row, tick) {
  const { offsets, ticks, values } = changes;
  const i = lastUpTo(ticks, tick, offsets[row], offsets[row + 1]);
  return i < offsets[row] ? undefined : values[i];
}

/** What a row does, from what the ticks around found it in and the calls under way. */
function combine(state, next, gap, calls, row, time) {
  if (gap) state = state === PARKED && next === PARKED ? PARKED : NO_TICK;
  if (state !== SUSPENDED && state !== NO_TICK) return state;
  for (const call of calls) {
    if (call.has[row] && time >= call.begin) return RUNNING;
  }
  for (const call of calls) if (call.has[row]) return QUEUED;
  return state;
}

function callsAt(t, time) {
  return t.calls.filter((call) => call.submitted <= time && time < call.end);
}

function stateAt(t, row, time) {
  const { tick, gap } = tickAt(t, time);
  const state = valueAt(t.states, row, tick), next = valueAt(t.states, row, tick + 1);
  return combine(state, next, gap, callsAt(t, time), row, time);
}

/** How many ticks up to this one found a row active. */
function numActive(t, row, tick) {
  const { offsets, ticks, values } = t.states;
  let sum = 0;
  for (let i = offsets[row]; i < offsets[row + 1] && ticks[i] <= tick; i++) {
    const stop = i + 1 < offsets[row + 1] ? ticks[i + 1] : Infinity;
    if (values[i] === ACTIVE) sum += Math.min(stop, tick + 1) - ticks[i];
  }
  return sum;
}

/** Staleness of a row in a tick; undefined where it is not active, or it is not known. */
function stalenessAt(t, row, tick) {
  const known = lastUpTo(t.stale_known, tick);
  if (known < 0 || known % 2 === 1 || valueAt(t.states, row, tick) !== ACTIVE) return undefined;
  const { offsets, ticks, values } = t.stale;
  const i = lastUpTo(ticks, tick, offsets[row], offsets[row + 1]);
  const from = i < offsets[row] ? t.stale_known[0] - 1 : ticks[i];
  const base = i < offsets[row] ? -1 : values[i];
  const staleness = base + numActive(t, row, tick) - numActive(t, row, from);
  return staleness < 0 ? undefined : staleness;
}

/** What the pointer is over, in words. */
function describe(t, row, time) {
  const { tick, gap } = tickAt(t, time);
  const ms = (us) => `${(us / 1000).toFixed(us < 1e5 ? 2 : 0)} ms`;
  const lines = [`row ${t.env_ids[row]}: ${t.labels[stateAt(t, row, time)]}`];
  const place = gap ? "after tick" : "tick";
  if (tick >= 0) {
    const length = gap ? "" : `, ${ms(t.end[tick] - t.begin[tick])}`;
    lines.push(`${place} ${t.first_tick + tick}${length}, at ${(time / 1e6).toFixed(4)} s`);
  }
  const staleness = gap ? undefined : stalenessAt(t, row, tick);
  if (staleness !== undefined) lines.push(`staleness ${staleness} ticks`);
  for (const call of callsAt(t, time)) {
    if (!call.has[row]) continue;
    const queued = `queued ${ms(call.begin - call.submitted)}, ran ${ms(call.end - call.begin)}`;
    lines.push(`${call.kind} of ${call.num_rows} rows: ${queued}`);
    if (call.error !== null) lines.push(`failed: ${call.error}`);
  }
  for (const [of, id, begin, end, total, success] of t.episodes) {
    if (of !== row || tick < begin || tick > end) continue;
    const outcome = success === null ? "" : success ? ", success" : ", no success";
    lines.push(`episode ${id}, return ${total === null ? "-" : total.toPrecision(5)}${outcome}`);
  }
  return lines.join("\n");
}

// ---- The picture. A view is a range of time and a range of rows.

/** Colours of all pixels, and how many samples of each column are in each state. */
function raster(t, view, width, height) {
  const first = Math.floor(view.r0), count = Math.ceil(view.r1) - first;
  const lines = Math.min(count, height), pixels = new Uint8ClampedArray(4 * width * lines);
  const num = width * SAMPLES, step = (view.t1 - view.t0) / num;
  const at = [], under = Array.from({ length: num }, () => NONE), mix = new Float32Array(6 * width);
  for (let i = 0; i < num; i++) at.push(tickAt(t, view.t0 + (i + 0.5) * step));
  for (const call of t.calls) {
    const from = Math.max(0, Math.ceil((call.submitted - view.t0) / step - 0.5));
    const to = Math.min(num, Math.ceil((call.end - view.t0) / step - 0.5));
    for (let i = from; i < to; i++) under[i] = [...under[i], call];
  }
  const { offsets, ticks, values } = t.states;
  for (let line = 0; line < lines; line++) {
    const row = first + Math.floor(((line + 0.5) * count) / lines);
    let k = offsets[row];
    const stop = offsets[row + 1];
    for (let x = 0; x < width; x++) {
      let red = 0, green = 0, blue = 0;
      for (let s = x * SAMPLES; s < (x + 1) * SAMPLES; s++) {
        const { tick, gap } = at[s];
        while (k + 1 < stop && ticks[k + 1] <= tick) k++;
        const next = k + 1 < stop && ticks[k + 1] === tick + 1 ? values[k + 1] : values[k];
        const now = tick < 0 ? undefined : values[k];
        const state = combine(now, next, gap, under[s], row, view.t0 + (s + 0.5) * step);
        const color = t.rgb[state];
        red += color[0];
        green += color[1];
        blue += color[2];
        mix[6 * x + state]++;
      }
      const p = 4 * (line * width + x);
      pixels[p] = red / SAMPLES;
      pixels[p + 1] = green / SAMPLES;
      pixels[p + 2] = blue / SAMPLES;
      pixels[p + 3] = 255;
    }
  }
  return { first, count, lines, pixels, mix };
}

const NONE = [];

/** Round numbers from lo to hi, at most about n. */
function niceSteps(lo, hi, n) {
  const raw = (hi - lo) / n, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((m) => m * power >= raw) * power;
  const first = Math.ceil(lo / step), num = Math.max(0, Math.floor(hi / step) - first + 1);
  return { step, values: Array.from({ length: num }, (_, i) => (first + i) * step) };
}

function layout(t, width) {
  const lanes = t.calls.reduce((most, call) => Math.max(most, call.lane + 1), 0);
  const callsHeight = lanes ? Math.min(12 + 16 * lanes, 110) : 0;
  const rowsHeight = Math.min(Math.max(16 * t.env_ids.length, 120), 560);
  const top = callsHeight + 4;
  return {
    left: 60, width: width - 72, lanes, callsHeight, top, rowsHeight,
    mixTop: top + rowsHeight + 12, mixHeight: 60, height: top + rowsHeight + 12 + 60 + 34,
  };
}

function draw(t, view, canvas, document) {
  const ratio = globalThis.devicePixelRatio || 1, box = layout(t, canvas.clientWidth);
  canvas.style.height = `${box.height}px`;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(box.height * ratio);
  const g = canvas.getContext("2d");
  g.scale(ratio, ratio);
  g.font = "12px system-ui, sans-serif";
  const width = Math.max(1, Math.floor(box.width));
  const x = (time) => box.left + ((time - view.t0) / (view.t1 - view.t0)) * width;
  const y = (row) => box.top + ((row - view.r0) / (view.r1 - view.r0)) * box.rowsHeight;
  const image = raster(t, view, width, box.rowsHeight);
  g.save();
  g.beginPath();
  g.rect(box.left, 0, width, box.height);
  g.clip();
  drawCalls(t, g, box, x);
  const buffer = document.createElement("canvas");
  buffer.width = width;
  buffer.height = image.lines;
  const pixels = new ImageData(image.pixels, width, image.lines);
  buffer.getContext("2d").putImageData(pixels, 0, 0);
  g.beginPath();
  g.rect(box.left, box.top, width, box.rowsHeight);
  g.clip();
  g.imageSmoothingEnabled = false;
  const top = y(image.first), bottom = y(image.first + image.count);
  g.drawImage(buffer, box.left, top, width, bottom - top);
  drawEpisodeEnds(t, g, view, x, y);
  g.restore();
  drawMix(t, g, box, image, width);
  drawAxes(t, g, view, box, x, y);
}

function drawCalls(t, g, box, x) {
  const height = (box.callsHeight - 8) / Math.max(box.lanes, 1);
  const seen = t.calls.filter((call) => {
    return x(call.end) >= box.left && x(call.submitted) <= box.left + box.width;
  });
  g.fillStyle = t.colors[QUEUED]; // below, since in its own lane another call may still run
  for (const call of seen) {
    const left = x(call.submitted), middle = 2 + (call.lane + 0.5) * height;
    g.fillRect(left, middle - 1, x(call.begin) - left, 2);
  }
  for (const call of seen) {
    const left = x(call.begin), right = x(call.end), top = 2 + call.lane * height;
    g.fillStyle = call.error === null ? t.colors[RUNNING] : t.error_color;
    g.fillRect(left, top, Math.max(right - left - 0.5, 1), height - 2);
    const text = String(call.num_rows);
    if (right - left < 8 * text.length + 6) continue;
    g.fillStyle = "#fff";
    g.textAlign = "center";
    g.textBaseline = "middle";
    g.fillText(text, (left + right) / 2, top + height / 2 - 1);
  }
}

function drawEpisodeEnds(t, g, view, x, y) {
  const height = y(1) - y(0);
  if (height < 4) return;
  for (const [row, , , end, , success] of t.episodes) {
    if (row < view.r0 - 1 || row > view.r1 || end >= t.end.length) continue;
    g.fillStyle = success === false ? t.error_color : "#000";
    g.fillRect(x(t.end[end]) - 1, y(row) + 0.1 * height, 2, 0.8 * height);
  }
  g.fillStyle = "#fff"; // a line between rows
  if (height >= 8) for (let row = Math.ceil(view.r0); row < view.r1; row++) {
    g.fillRect(0, y(row) - 0.5, 1e5, 1);
  }
}

function drawMix(t, g, box, image, width) {
  const whole = image.lines * SAMPLES;
  for (let column = 0; column < width; column++) {
    let bottom = box.mixTop + box.mixHeight;
    for (const state of t.order) {
      const height = (box.mixHeight * image.mix[6 * column + state]) / whole;
      g.fillStyle = t.colors[state];
      g.fillRect(box.left + column, bottom - height, 1, height);
      bottom -= height;
    }
  }
}

function drawAxes(t, g, view, box, x, y) {
  g.fillStyle = "#333";
  g.strokeStyle = "#888";
  g.lineWidth = 1;
  g.strokeRect(box.left - 0.5, box.top - 0.5, box.width + 1, box.rowsHeight + 1);
  g.strokeRect(box.left - 0.5, box.mixTop - 0.5, box.width + 1, box.mixHeight + 1);
  g.textAlign = "right";
  g.textBaseline = "middle";
  const rows = niceSteps(view.r0, view.r1 - 1, Math.max(1, Math.floor(box.rowsHeight / 22)));
  const every = Math.max(1, Math.round(rows.step)); // no half rows
  for (let row = Math.ceil(view.r0 / every) * every; row < view.r1; row += every) {
    if (row + 0.5 <= view.r1) g.fillText(String(t.env_ids[row]), box.left - 6, y(row + 0.5));
  }
  if (box.lanes) g.fillText("calls", box.left - 6, (box.callsHeight - 4) / 2);
  g.fillText("% rows", box.left - 6, box.mixTop + box.mixHeight / 2);
  g.textAlign = "center";
  g.textBaseline = "top";
  const times = niceSteps(view.t0 / 1e6, view.t1 / 1e6, Math.max(2, box.width / 90));
  const digits = Math.max(0, -Math.floor(Math.log10(times.step)));
  for (const time of times.values) {
    const at = x(time * 1e6);
    g.fillRect(at, box.mixTop + box.mixHeight, 1, 5);
    g.fillText(`${time.toFixed(digits)} s`, at, box.mixTop + box.mixHeight + 8);
  }
}

// ---- The page.

/** A view moved and zoomed, but never beyond what there is. */
function within(whole, { t0, t1, r0, r1 }) {
  const time = Math.min(Math.max(t1 - t0, 10), whole.t1 - whole.t0);
  const rows = Math.min(Math.max(r1 - r0, 1), whole.r1 - whole.r0);
  t0 = Math.min(Math.max(t0, whole.t0), whole.t1 - time);
  r0 = Math.min(Math.max(r0, whole.r0), whole.r1 - rows);
  return { t0, t1: t0 + time, r0, r1: r0 + rows };
}

function zoomed(view, time, row, timeFactor, rowFactor) {
  return {
    t0: time - (time - view.t0) * timeFactor, t1: time + (view.t1 - time) * timeFactor,
    r0: row - (row - view.r0) * rowFactor, r1: row + (view.r1 - row) * rowFactor,
  };
}

function start(document) {
  const t = unpack(JSON.parse(document.getElementById("data").textContent));
  const canvas = document.getElementById("plot"), tip = document.getElementById("tip");
  const whole = { t0: t.span[0], t1: t.span[1], r0: 0, r1: t.env_ids.length };
  let view = whole, waiting = false, drag = null;

  const show = (next) => {
    view = within(whole, next);
    if (waiting) return;
    waiting = true; // several events are one drawing
    globalThis.requestAnimationFrame(() => {
      waiting = false;
      draw(t, view, canvas, document);
    });
  };
  const place = (event) => {
    const bounds = canvas.getBoundingClientRect(), box = layout(t, canvas.clientWidth);
    const across = (event.clientX - bounds.left - box.left) / box.width;
    const down = (event.clientY - bounds.top - box.top) / box.rowsHeight;
    const time = view.t0 + across * (view.t1 - view.t0);
    const row = view.r0 + down * (view.r1 - view.r0);
    return { time, row, inside: across >= 0 && across < 1 && down >= 0 && down < 1 };
  };
  const hover = (event) => {
    const { time, row, inside } = place(event);
    tip.style.display = inside && !drag ? "block" : "none";
    if (!inside || drag) return;
    tip.textContent = describe(t, Math.floor(row), time); // as text: names hold no markup
    tip.style.left = `${Math.min(event.clientX + 14, globalThis.innerWidth - 320)}px`;
    tip.style.top = `${event.clientY + 14}px`;
  };

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { time, row } = place(event), amount = event.deltaY || event.deltaX;
    const factor = 1.2 ** Math.sign(amount);
    show(event.shiftKey ? zoomed(view, time, row, 1, factor) : zoomed(view, time, row, factor, 1));
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, y: event.clientY, view };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    hover(event);
    if (!drag) return;
    const box = layout(t, canvas.clientWidth), from = drag.view;
    const time = ((drag.x - event.clientX) / box.width) * (from.t1 - from.t0);
    const rows = ((drag.y - event.clientY) / box.rowsHeight) * (from.r1 - from.r0);
    show({ t0: from.t0 + time, t1: from.t1 + time, r0: from.r0 + rows, r1: from.r1 + rows });
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => { drag = null; });
  }
  canvas.addEventListener("pointerleave", () => { tip.style.display = "none"; });
  canvas.addEventListener("dblclick", () => show(whole));
  canvas.addEventListener("keydown", (event) => {
    const time = (view.t0 + view.t1) / 2, row = (view.r0 + view.r1) / 2;
    const step = (view.t1 - view.t0) / 8;
    if (event.key === "+" || event.key === "=") show(zoomed(view, time, row, 1 / 1.5, 1));
    else if (event.key === "-") show(zoomed(view, time, row, 1.5, 1));
    else if (event.key === "ArrowLeft") show({ ...view, t0: view.t0 - step, t1: view.t1 - step });
    else if (event.key === "ArrowRight") show({ ...view, t0: view.t0 + step, t1: view.t1 + step });
    else if (event.key === "0") show(whole);
    else return;
    event.preventDefault();
  });
  globalThis.addEventListener("resize", () => show(view));
  show(whole);
}

if (typeof document !== "undefined") start(document);
