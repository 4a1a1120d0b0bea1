// A picture as numbers: scaled in the browser to the size that the model wants.

const LARGEST = 1024; // pixels of a side, where the model takes any size

// How a shape may hold a picture: {width, height, channels, first, shape}, null for a size that may be any; null if it holds none.
export function pictureForm(shape) {
  const inner = shape.length > 3 ? shape.slice(1) : shape;
  if (inner.length === 3) {
    const [a, b, c] = inner;
    for (const channels of [3, 1]) {
      if (a === channels) return { width: c, height: b, channels, first: true, shape };
      if (c === channels) return { width: b, height: a, channels, first: false, shape };
    }
    return null;
  }
  const flat = inner.length === 1 ? inner[0] : inner.length === 2 && inner[0] === 1 ? inner[1] : null;
  const side = Math.sqrt(flat ?? 0);
  return Number.isInteger(side) && side >= 8 ? { width: side, height: side, channels: 1, first: true, shape } : null;
}

// The values of a file, and their shape.
export async function picture(file, form, low, high, whole) {
  const bitmap = await createImageBitmap(file);
  const shrink = Math.min(1, LARGEST / Math.max(bitmap.width, bitmap.height));
  const width = form.width ?? Math.max(1, Math.round(bitmap.width * shrink));
  const height = form.height ?? Math.max(1, Math.round(bitmap.height * shrink));
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const paint = canvas.getContext("2d");
  paint.fillStyle = "#fff"; // behind what is transparent
  paint.fillRect(0, 0, width, height);
  paint.drawImage(bitmap, 0, 0, width, height);
  const pixels = paint.getImageData(0, 0, width, height).data;
  const size = width * height;
  const data = new Array(size * form.channels);
  const scaled = (value) => {
    const found = low + ((high - low) * value) / 255;
    return whole ? Math.round(found) : Math.round(found * 1e6) / 1e6;
  };
  for (let at = 0; at < size; at += 1) {
    const [red, green, blue] = [pixels[4 * at], pixels[4 * at + 1], pixels[4 * at + 2]];
    if (form.channels === 1) data[at] = scaled(0.299 * red + 0.587 * green + 0.114 * blue);
    else [red, green, blue].forEach((value, channel) => { data[form.first ? channel * size + at : at * 3 + channel] = scaled(value); });
  }
  const inner = form.first ? [form.channels, height, width] : [height, width, form.channels];
  const sizes = form.shape.length > 3 ? [1, ...inner] : form.shape.length === 3 ? inner : form.shape.map((one) => one ?? 1);
  return { data, shape: sizes };
}
