// From a picture file to the bytes that the network reads, step by step as the server does it: upright, on white,
// to grey or RGB, then resized with Pillow's bilinear filter in its fixed-point arithmetic.

const PRECISION_BITS = 22; // Pillow's 32 - 8 - 2

export async function pixelsOf(file, { height, width, channels }) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const mode = channels === 1 ? grey(data) : colours(data);
  const wide = resizeRows(mode, bitmap.width, bitmap.height, channels, width);
  return resizeColumns(wide, width, bitmap.height, channels, height);
}

function grey(data) {
  const found = new Uint8Array(data.length / 4);
  for (let at = 0; at < found.length; at++) {
    found[at] = (data[4 * at] * 19595 + data[4 * at + 1] * 38470 + data[4 * at + 2] * 7471 + 0x8000) >> 16;
  }
  return found;
}

function colours(data) {
  const found = new Uint8Array((data.length / 4) * 3);
  for (let at = 0; at < data.length / 4; at++) {
    for (let channel = 0; channel < 3; channel++) found[3 * at + channel] = data[4 * at + channel];
  }
  return found;
}

// For each output place: where its window begins, and the weights in it as whole numbers.
function windows(before, after) {
  const scale = before / after, reach = Math.max(scale, 1);
  return Array.from({ length: after }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(before, Math.trunc(centre + reach + 0.5));
    const weights = [];
    for (let at = start; at < end; at++) weights.push(Math.max(0, 1 - Math.abs((at - centre + 0.5) / reach)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { start, weights: weights.map((weight) => Math.trunc(0.5 + (weight / total) * 2 ** PRECISION_BITS)) };
  });
}

function rounded(sum) {
  return Math.min(255, Math.max(0, Math.floor((sum + 2 ** (PRECISION_BITS - 1)) / 2 ** PRECISION_BITS)));
}

function resizeRows(pixels, width, height, channels, after) {
  if (width === after) return pixels;
  const found = new Uint8Array(height * after * channels);
  windows(width, after).forEach(({ start, weights }, place) => {
    for (let row = 0; row < height; row++) {
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        weights.forEach((weight, at) => { sum += weight * pixels[(row * width + start + at) * channels + channel]; });
        found[(row * after + place) * channels + channel] = rounded(sum);
      }
    }
  });
  return found;
}

function resizeColumns(pixels, width, height, channels, after) {
  if (height === after) return pixels;
  const line = width * channels, found = new Uint8Array(after * line);
  windows(height, after).forEach(({ start, weights }, place) => {
    for (let at = 0; at < line; at++) {
      let sum = 0;
      weights.forEach((weight, row) => { sum += weight * pixels[(start + row) * line + at]; });
      found[place * line + at] = rounded(sum);
    }
  });
  return found;
}
