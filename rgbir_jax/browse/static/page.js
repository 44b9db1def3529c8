// The page: what is chosen, and what follows from it.

import { about as askAbout, ask, imageAddress, upload } from "./server.js";
import { KINDS, cameraChip, press, tile, where, who } from "./gallery.js";
import * as pair from "./pair.js";

const STEP = 60;
const INVITATION = "Drop an image here, choose a file, or pick somebody from the gallery.";
const at = (id) => document.getElementById(id);
let about;
let query = null; // { asked: what the server is asked for, picture, name, text, guess }
let chosen = null;
let top = STEP;
let listing = null;

function say(error) {
  if (error?.name === "AbortError") return;
  at("error").textContent = error?.message ?? "";
  at("error").hidden = !error;
}

async function attempt(action) {
  say(null);
  try {
    await action();
  } catch (error) {
    say(error);
  }
}

// ---------------------------------------------------------------- the query

async function send(file) {
  if (!file) return;
  if (file.size > about.largest_upload) {
    throw new Error(`${file.name} is larger than ${about.largest_upload / 1e6} MB; choose a smaller image.`);
  }
  const sent = await upload(file);
  document.querySelector("[name=kind][value='']").checked = true;
  const asked = { upload: sent.upload, modality: null };
  const guess = `taken as ${KINDS[sent.modality]}`;
  await useQuery({ asked, picture: sent.picture, name: file.name, text: guess, guess });
}

async function useImage(image) {
  const asked = { number: image.number };
  await useQuery({ asked, picture: imageAddress(image.number), name: who(image), text: where(image) });
}

async function useQuery(next) {
  query = next;
  chosen = null;
  top = STEP;
  at("query-image").src = query.picture;
  at("query-image").alt = `Query: ${query.name}`;
  showQuery();
  pair.hide();
  at("pair-none").textContent = "Choose an image in the gallery to compare it with the query.";
  await list();
}

async function clearQuery() {
  query = chosen = null;
  top = STEP;
  at("file").value = "";
  showQuery();
  pair.hide();
  at("pair-none").textContent = "Choose a query, then an image in the gallery.";
  await list();
  at("file").focus();
}

function showQuery() {
  at("query-image").hidden = at("clear").hidden = !query;
  at("query-none").hidden = at("limits").hidden = Boolean(query);
  at("kind").hidden = !query?.asked.upload;
  at("query-text").textContent = query ? `${query.name}, ${query.text}` : INVITATION;
}

async function changeKind(kind) {
  query.asked.modality = kind || null;
  query.text = kind ? `used as ${KINDS[kind]}` : query.guess;
  showQuery();
  await list();
  if (chosen) await compare(chosen);
}

// ---------------------------------------------------------------- the gallery

async function list() {
  listing?.abort();
  listing = new AbortController();
  const cameras = [...document.querySelectorAll("[name=camera]:checked")].map((box) => Number(box.value));
  const modality = document.querySelector("[name=shown]:checked").value || null;
  at("results").classList.add("stale");
  const found = await ask("search", { query: query?.asked ?? null, cameras, modality, top }, listing.signal);
  const focused = at("results").contains(document.activeElement) && document.activeElement.dataset.number;
  at("results").replaceChildren(...found.images.map((image) => tile(image, (one) => attempt(() => choose(one)))));
  at("results").classList.remove("stale");
  at("more").hidden = found.images.length >= found.total || top >= 500;
  at("status").textContent = summary(found);
  press(chosen?.number);
  if (focused) (document.querySelector(`.tile[data-number="${focused}"]`) ?? document.querySelector(".tile"))?.focus();
}

function summary(found) {
  const images = found.total === 1 ? "1 image" : `${found.total.toLocaleString("en")} images`;
  if (!found.total) return "No image passes the filters.";
  const shown = found.images.length < found.total ? `, the first ${found.images.length} shown` : "";
  if (!query) return `${images}${shown}. Choose one as the query.`;
  const right = found.images.findIndex((image) => image.right);
  const first = right < 0 ? "" : ` The query’s person is first found at rank ${right + 1}.`;
  return `${images}, nearest first${shown}.${first}`;
}

async function choose(image) {
  await (query ? compare(image) : useImage(image));
}

async function compare(image) {
  chosen = image;
  press(image.number);
  const shown = pair.show(query, image, about);
  const place = at("pair").getBoundingClientRect();
  if (place.bottom < 0 || place.top > innerHeight) at("pair").scrollIntoView({ block: "start" });
  await shown;
}

// ---------------------------------------------------------------- start

function describe() {
  const people = about.people ? `, ${about.people.toLocaleString("en")} people` : "";
  const bold = (text) => Object.assign(document.createElement("b"), { textContent: text });
  at("about").replaceChildren(
    "Model ", bold(about.run), `, trained on ${about.dataset}. Gallery `, bold(about.gallery),
    `, ${about.images.toLocaleString("en")} images${people}.`,
  );
  at("limits").textContent = `JPEG, PNG, WebP, TIFF or BMP, at most ${about.largest_upload / 1e6} MB.`;
  document.documentElement.style.setProperty("--shape", `${about.width} / ${about.height}`);
  at("cameras").append(...about.cameras.map(cameraChip));
  at("cameras").hidden = about.cameras.length < 2;
  at("shown-kind").hidden = !(about.modalities.rgb && about.modalities.ir);
}

function listen() {
  at("file").addEventListener("change", () => attempt(() => send(at("file").files[0])));
  at("clear").addEventListener("click", () => attempt(clearQuery));
  at("use").addEventListener("click", () => attempt(() => useImage(chosen)));
  at("kind").addEventListener("change", (event) => attempt(() => changeKind(event.target.value)));
  at("filters").addEventListener("change", () => {
    top = STEP;
    attempt(list);
  });
  at("more").addEventListener("click", () => {
    top += STEP;
    attempt(list);
  });
  let depth = 0; // of the elements that a dragged file has entered
  const dropping = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dropping", depth > 0);
  };
  document.addEventListener("dragenter", () => dropping(1));
  document.addEventListener("dragleave", () => dropping(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    dropping(-depth);
    attempt(() => send(event.dataTransfer.files[0]));
  });
}

attempt(async () => {
  about = await askAbout();
  describe();
  pair.prepare(about);
  listen();
  await list();
});
