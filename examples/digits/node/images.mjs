// A small data set for machines without Python: 1,797 digits of 8×8 pixels, drawn by a trembling pen.

import { createHash } from 'node:crypto';
import { normal, randomStream } from './random.mjs';

export const SIDE = 8;
export const PIXELS = SIDE * SIDE;
export const IMAGES = 1797;
const DATA_SEED = 20;
const LEVELS = 16;

/** Pen strokes in a unit square, y downwards. Arcs: centre x, y, radius x, y, from and to in degrees (0 right, 90 down). */
const line = (...points) => points;
const arc = (x, y, rx, ry, from, to) =>
  Array.from({ length: 13 }, (_, step) => {
    const angle = ((from + ((to - from) * step) / 12) * Math.PI) / 180;
    return [x + rx * Math.cos(angle), y + ry * Math.sin(angle)];
  });

const STROKES = [
  [arc(0.5, 0.5, 0.24, 0.36, 0, 360)],
  [line([0.34, 0.3], [0.54, 0.13], [0.54, 0.87])],
  [arc(0.5, 0.34, 0.22, 0.2, 180, 385), line([0.68, 0.45], [0.28, 0.86], [0.74, 0.86])],
  [arc(0.46, 0.32, 0.22, 0.18, 200, 450), arc(0.46, 0.68, 0.24, 0.19, 270, 510)],
  [line([0.58, 0.12], [0.25, 0.6], [0.78, 0.6]), line([0.62, 0.38], [0.62, 0.88])],
  [line([0.72, 0.14], [0.34, 0.14], [0.31, 0.46]), arc(0.48, 0.64, 0.23, 0.22, 235, 500)],
  [line([0.62, 0.12], [0.34, 0.5], [0.3, 0.66]), arc(0.5, 0.67, 0.2, 0.19, 0, 360)],
  [line([0.26, 0.15], [0.74, 0.15], [0.42, 0.88]), line([0.38, 0.52], [0.66, 0.52])],
  [arc(0.5, 0.31, 0.18, 0.17, 0, 360), arc(0.5, 0.68, 0.21, 0.19, 0, 360)],
  [arc(0.5, 0.33, 0.2, 0.19, 0, 360), line([0.7, 0.34], [0.66, 0.6], [0.5, 0.88])],
];

/** `images[i]` has 64 values of 0 to 1; `labels[i]` its digit; `sha256` is over pixels then digits, one byte each. */
export function drawImages() {
  const random = randomStream(DATA_SEED, 0);
  const images = [];
  const labels = [];
  const bytes = Buffer.alloc(IMAGES * (PIXELS + 1));
  for (let i = 0; i < IMAGES; i++) {
    const digit = Math.floor(random() * 10);
    const image = drawDigit(STROKES[digit], random);
    for (let pixel = 0; pixel < PIXELS; pixel++) bytes[i * PIXELS + pixel] = image[pixel] * LEVELS;
    bytes[IMAGES * PIXELS + i] = digit;
    images.push(image);
    labels.push(digit);
  }
  return { images, labels, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** One digit by one hand: slant, size, place, tremble, pen width and grain differ from image to image. */
function drawDigit(strokes, random) {
  const turn = normal(random) * 0.11;
  const slant = normal(random) * 0.16;
  const width = 1 + normal(random) * 0.13;
  const height = 1 + normal(random) * 0.08;
  const [right, down] = [normal(random) * 0.05, normal(random) * 0.04];
  const pen = 0.055 + random() * 0.04;
  const place = ([x, y]) => {
    const u = (x - 0.5) * width + (y - 0.5) * slant;
    const v = (y - 0.5) * height;
    return [
      0.5 + right + u * Math.cos(turn) - v * Math.sin(turn) + normal(random) * 0.022,
      0.5 + down + u * Math.sin(turn) + v * Math.cos(turn) + normal(random) * 0.022,
    ];
  };
  const drawn = strokes.map((stroke) => stroke.map(place));
  const image = new Float64Array(PIXELS);
  for (let pixel = 0; pixel < PIXELS; pixel++) {
    const x = ((pixel % SIDE) + 0.5) / SIDE;
    const y = (Math.floor(pixel / SIDE) + 0.5) / SIDE;
    const ink = 1 - (distanceToStrokes(drawn, x, y) - pen) / 0.09 + normal(random) * 0.1;
    image[pixel] = Math.round(Math.min(1, Math.max(0, ink)) * LEVELS) / LEVELS;
  }
  return image;
}

function distanceToStrokes(strokes, x, y) {
  let least = Number.POSITIVE_INFINITY;
  for (const stroke of strokes) {
    for (let i = 1; i < stroke.length; i++) {
      const [[ax, ay], [bx, by]] = [stroke[i - 1], stroke[i]];
      const length = (bx - ax) ** 2 + (by - ay) ** 2;
      const along = length === 0 ? 0 : ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length;
      const t = Math.min(1, Math.max(0, along));
      least = Math.min(least, (x - ax - t * (bx - ax)) ** 2 + (y - ay - t * (by - ay)) ** 2);
    }
  }
  return Math.sqrt(least);
}

/** Bilinear, about the centre, counter-clockwise, black outside: what scipy.ndimage.rotate does with order 1. */
export function rotated(image, degrees) {
  if (degrees === 0) return image;
  const [cos, sin] = [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
  const centre = (SIDE - 1) / 2;
  const at = (x, y) => (x >= 0 && x < SIDE && y >= 0 && y < SIDE ? image[y * SIDE + x] : 0);
  const turned = new Float64Array(PIXELS);
  for (let pixel = 0; pixel < PIXELS; pixel++) {
    const dx = (pixel % SIDE) - centre;
    const dy = Math.floor(pixel / SIDE) - centre;
    const x = centre + dx * cos - dy * sin;
    const y = centre + dx * sin + dy * cos;
    const [left, top] = [Math.floor(x), Math.floor(y)];
    const [fx, fy] = [x - left, y - top];
    const upper = at(left, top) * (1 - fx) + at(left + 1, top) * fx;
    const lower = at(left, top + 1) * (1 - fx) + at(left + 1, top + 1) * fx;
    turned[pixel] = upper * (1 - fy) + lower * fy;
  }
  return turned;
}
