// Questions to the server. An error carries the server's sentence.

export function imageAddress(number) {
  return `images/${number}`;
}

export async function about() {
  return answered(fetch("api/about"));
}

export async function ask(what, question, signal) {
  const headers = { "Content-Type": "application/json" };
  return answered(fetch(`api/${what}`, { method: "POST", headers, body: JSON.stringify(question), signal }));
}

export async function upload(file) {
  const headers = { "Content-Type": "application/octet-stream" };
  return answered(fetch("api/uploads", { method: "POST", headers, body: file }));
}

async function answered(request) {
  let response;
  try {
    response = await request;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The program does not answer; start rgbir-browse again, then reload this page.");
  }
  const values = await response.json().catch(() => ({ error: "The program gave no answer; reload this page." }));
  if (!response.ok) throw new Error(values.error[0].toUpperCase() + values.error.slice(1));
  return values;
}
