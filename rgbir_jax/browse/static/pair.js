// The comparison of the query with a gallery image: activation maps, swap and interpolation.

import { imageAddress, ask } from "./server.js";
import { who, where } from "./gallery.js";

const at = (id) => document.getElementById(id);
let frames = null;
let waiting = null;

export function prepare(about) {
  document.body.classList.toggle("no-maps", Boolean(about.no_maps));
  for (const [what, reason] of [["maps", about.no_maps], ["swap", about.no_swap]]) {
    at(`no-${what}`).textContent = reason && reason[0].toUpperCase() + reason.slice(1);
    at(`no-${what}`).hidden = !reason;
    at(`${what}-shown`).hidden = Boolean(reason);
  }
  at("mix").addEventListener("input", showFrame);
}

export function hide() {
  waiting?.abort();
  at("pair-shown").hidden = at("use").hidden = true;
  at("pair-none").hidden = false;
}

export async function show(query, image, about) {
  waiting?.abort();
  waiting = new AbortController();
  const signal = waiting.signal;
  describe(query, image);
  clear();
  at("pair-shown").hidden = at("use").hidden = false;
  at("pair-none").hidden = true;
  at("pair").setAttribute("aria-busy", "true");
  const question = { query: query.asked, match: image.number };
  try {
    if (!about.no_maps) showMaps(await ask("maps", question, signal));
    if (!about.no_swap) showSwap(await ask("swap", question, signal));
  } finally {
    if (!signal.aborted) at("pair").removeAttribute("aria-busy");
  }
}

function describe(query, image) {
  at("first").src = query.picture;
  at("first").alt = `Query: ${query.name}`;
  at("second").src = imageAddress(image.number);
  at("second").alt = `Gallery image: ${who(image)}, ${where(image)}`;
  const distance = image.distance === undefined ? "" : `, distance ${image.distance.toFixed(3)}`;
  at("pair-text").textContent = `${query.name} and ${who(image)}${distance}.`;
}

function clear() {
  frames = null;
  for (const id of ["first-map", "second-map", "first-swap", "second-swap"]) at(id).removeAttribute("src");
  at("mix").disabled = true;
  at("mix-text").textContent = "";
}

function showMaps(maps) {
  at("first-map").src = maps.query;
  at("first-map").alt = "Where the query is similar to the gallery image";
  at("second-map").src = maps.match;
  at("second-map").alt = "Where the gallery image is similar to the query";
}

function showSwap(swap) {
  frames = swap;
  at("mix").max = swap.query.length - 1;
  at("mix").value = swap.query.length - 1;
  at("mix").disabled = false;
  showFrame();
}

function showFrame() {
  if (!frames) return;
  const place = Number(at("mix").value);
  const share = Math.round((100 * place) / (frames.query.length - 1));
  at("first-swap").src = frames.query[place];
  at("second-swap").src = frames.match[place];
  at("first-swap").alt = `The query's pose with ${share}% of the gallery image's appearance`;
  at("second-swap").alt = `The gallery image's pose with ${share}% of the query's appearance`;
  at("mix-text").textContent = `${share}%`;
  at("mix").setAttribute("aria-valuetext", `${share}% of the other's appearance`);
}
