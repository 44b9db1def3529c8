// The list of gallery images, and the filters.

import { imageAddress } from "./server.js";

export const KINDS = { rgb: "RGB", ir: "infrared" };

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function who(image) {
  return image.person ? `Person ${image.person}` : image.path.split("/").pop();
}

export function where(image) {
  const kind = image.modality.toUpperCase(); // "infrared" would be cut off below a picture
  return image.camera ? `Camera ${image.camera}, ${kind}` : kind;
}

export function tile(image, choose) {
  const picture = element("img", { className: "picture", src: imageAddress(image.number), loading: "lazy" });
  picture.alt = image.path;
  picture.addEventListener("error", () => (picture.alt = `${image.path}: gone or replaced since the start`));
  const button = element("button", { type: "button", className: "tile", title: image.path }, picture);
  button.dataset.number = image.number;
  if (image.rank) {
    const distance = element("span", { title: "distance" }, image.distance.toFixed(3));
    button.append(element("span", { className: "rank" }, element("b", {}, `${image.rank}`), distance));
  }
  const name = element("span", { className: "who" }, who(image));
  if (image.right) {
    name.classList.add("right");
    name.prepend("✓ ");
    name.title = "the query's person";
  }
  button.append(name, element("span", { className: "where" }, where(image)));
  const place = image.rank ? `rank ${image.rank}, distance ${image.distance.toFixed(3)}, ` : "";
  const same = image.right ? ", the person of the query" : "";
  button.setAttribute("aria-label", `${place}${who(image)}, ${where(image)}${same}`);
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => choose(image));
  return element("li", {}, button);
}

export function press(number) {
  for (const button of document.querySelectorAll(".tile")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.number) === number));
  }
}

export function cameraChip(camera) {
  const box = element("input", { type: "checkbox", name: "camera", value: camera.number });
  const kind = camera.modality ? ` ${KINDS[camera.modality]}` : "";
  return element("label", {}, box, `${camera.number}`, element("small", {}, kind));
}
