// Asks page.js, as a browser would run it, what rows do at moments, and lets it draw on a canvas
// that only counts. Reads {data, moments} from standard input, prints answers as JSON.
"use strict";
const fs = require("fs");
const vm = require("vm");

const { data, moments, script, gestures } = JSON.parse(fs.readFileSync(0, "utf8"));
const counts = {};
const context2d = new Proxy({}, {
  get: (_, name) => (...args) => {
    counts[name] = (counts[name] || 0) + 1;
    const numbers = args.filter((value) => typeof value === "number");
    if (numbers.some((value) => !Number.isFinite(value))) throw new Error(`${name}(${args})`);
  },
  set: () => true,
});
const handlers = {};
const canvas = () => ({
  clientWidth: 900, width: 0, height: 0, style: {}, getContext: () => context2d,
  addEventListener: (name, handler) => { handlers[name] = handler; },
  getBoundingClientRect: () => ({ left: 0, top: 0 }), setPointerCapture: () => {},
});
const elements = {
  data: { textContent: JSON.stringify(data) }, plot: canvas(), tip: { style: {}, textContent: "" },
};
const page = vm.createContext({
  document: { getElementById: (id) => elements[id], createElement: canvas },
  ImageData: class { constructor(pixels, width, height) {
    if (pixels.length !== 4 * width * height) throw new Error("ImageData");
    counts.lines = height;
  } },
  addEventListener: () => {}, requestAnimationFrame: (paint) => paint(), innerWidth: 1000,
});
vm.runInContext(script, page);
const tips = [];
for (const [name, event] of gestures) {
  handlers[name]({ preventDefault: () => {}, deltaX: 0, pointerId: 1, ...event });
  tips.push(elements.tip.textContent);
}
const ask = vm.runInContext(
  "(data, moments) => { const t = unpack(data); return moments.map(([row, time, tick]) => " +
  "[stateAt(t, row, time), tick < 0 ? undefined : stalenessAt(t, row, tick)]); }", page);
process.stdout.write(JSON.stringify({ answers: ask(data, moments), counts, tips }));
