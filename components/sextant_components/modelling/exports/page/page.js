// Loads the model, answers the golden requests, and then whatever the form holds. Nothing leaves the page.

import * as ort from "./runtime/ort.wasm.min.mjs";
import { pixelsOf } from "./picture.js";

ort.env.wasm.numThreads = 1; // threads need headers that a plain static host does not send
const TYPES = { image: "uint8", features: "float32" };
const ARRAYS = { image: Uint8Array, features: Float32Array };

async function json(path) {
  return (await fetch(path)).json();
}

const [model, golden] = await Promise.all([json("model.json"), json("golden.json")]);
const sessions = await Promise.all(model.members.map((name) => ort.InferenceSession.create(name)));

// Returns the members' mean answer, one list for each row.
async function run(inputs) {
  const answers = await Promise.all(sessions.map(async (session) => {
    const feeds = Object.fromEntries(session.inputNames.map((name) => [name, inputs[name]]));
    return (await session.run(feeds))[model.output];
  }));
  const [rows, width] = answers[0].dims;
  return Array.from({ length: rows }, (_, row) => Array.from({ length: width }, (_, column) =>
    answers.reduce((sum, answer) => sum + answer.data[row * width + column], 0) / answers.length));
}

function tensor(name, data, shape) {
  return new ort.Tensor(TYPES[name], ARRAYS[name].from(data), shape);
}

// A category is its place in the vocabulary, a missing number the column's default, as on the server.
function encoded(column, text) {
  if (column.vocabulary) {
    const place = column.vocabulary.indexOf(text);
    return place < 0 ? column.vocabulary.length : place;
  }
  const number = text === "" ? NaN : Number(text);
  if (!Number.isFinite(number)) return column.default;
  return Math.min(column.high ?? Infinity, Math.max(column.low ?? -Infinity, number));
}

export async function answer(picture, fields) {
  const inputs = {};
  if (model.image) {
    const { height, width, channels } = model.image;
    inputs.image = tensor("image", await pixelsOf(picture, model.image), [1, height, width, channels]);
  }
  if (model.columns.length) {
    const numbers = model.columns.map((column) => encoded(column, String(fields[column.name] ?? "")));
    inputs.features = tensor("features", numbers, [1, numbers.length]);
  }
  return (await run(inputs))[0];
}

async function prove() {
  const inputs = Object.fromEntries(Object.entries(golden.inputs)
    .map(([name, { data, shape }]) => [name, tensor(name, data, shape)]));
  const found = await run(inputs);
  const off = Math.max(...found.flatMap((row, at) => row.map((value, column) =>
    Math.abs(value - golden.expected[at][column]))));
  const agrees = off <= model.tolerance;
  document.documentElement.dataset.parity = agrees ? "pass" : "fail";
  document.documentElement.dataset.off = String(off);
  document.getElementById("parity").textContent = agrees
    ? `${found.length} of ${found.length} golden requests are answered as sealed, within ${model.tolerance}.`
    : `The golden requests are answered otherwise than sealed: off by ${off}. Do not use this page.`;
  return agrees;
}

function field(label, attributes) {
  const outer = document.createElement("label"), input = document.createElement("input");
  Object.assign(input, attributes);
  outer.append(label, input);
  return outer;
}

function showForm() {
  const form = document.getElementById("form");
  if (model.image) form.append(field("Picture", { type: "file", name: "image", accept: "image/png,image/jpeg", required: true }));
  for (const column of model.columns) {
    form.append(field(column.name, column.vocabulary ? { name: column.name } : { name: column.name, type: "number", step: "any" }));
  }
  form.append(Object.assign(document.createElement("button"), { textContent: "Predict" }));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(form));
    showAnswer(await answer(fields.image, fields));
  });
}

function showAnswer(probabilities) {
  const table = document.getElementById("answer");
  const rows = model.classes.map((name, at) => [name, probabilities[at]]).sort((one, other) => other[1] - one[1]);
  table.querySelector("tbody").replaceChildren(...rows.map(([name, probability]) => {
    const row = document.createElement("tr");
    for (const text of [name, probability.toFixed(4)]) {
      row.append(Object.assign(document.createElement("td"), { textContent: text }));
    }
    return row;
  }));
  table.hidden = false;
}

document.getElementById("name").textContent = `${model.name}, version ${model.version}`;
document.title = model.name;
if (await prove()) showForm();
