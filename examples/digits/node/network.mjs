// A network of one hidden layer, trained by stochastic gradient descent with momentum.

import { PIXELS } from './images.mjs';
import { draw, normal, randomStream } from './random.mjs';

const HIDDEN = 64;
const DIGITS = 10;
const BATCH = 32;
const LEARNING_RATE = 0.05;
const MOMENTUM = 0.9;
/** About this many rows are shown in all, whatever the size of the training set: some seconds on one core. */
const ROWS_SHOWN = 200_000;
const MIN_PASSES = 20;
const MAX_PASSES = 200;

/** Weights are flat, [input][output] in rows, as weights.json has them. */
function layer(inputs, outputs, random) {
  const deviation = Math.sqrt(2 / inputs);
  return {
    inputs,
    outputs,
    weights: Float64Array.from({ length: inputs * outputs }, () => normal(random) * deviation),
    bias: new Float64Array(outputs),
    weightStep: new Float64Array(inputs * outputs),
    biasStep: new Float64Array(outputs),
  };
}

function forward({ inputs, outputs, weights, bias }, input, output) {
  output.set(bias);
  for (let i = 0; i < inputs; i++) {
    const value = input[i];
    if (value === 0) continue;
    const row = i * outputs;
    for (let j = 0; j < outputs; j++) output[j] += value * weights[row + j];
  }
}

function relu(values) {
  for (let i = 0; i < values.length; i++) if (values[i] < 0) values[i] = 0;
}

/** Scores to (probability − target): the gradient of the cross-entropy of a softmax. */
function softmaxError(scores, answer) {
  const most = Math.max(...scores);
  let sum = 0;
  for (let i = 0; i < scores.length; i++) {
    scores[i] = Math.exp(scores[i] - most);
    sum += scores[i];
  }
  for (let i = 0; i < scores.length; i++) scores[i] /= sum;
  scores[answer] -= 1;
}

/** Adds the gradient of one row to the layer's step; `error` is of its outputs. */
function accumulate({ inputs, outputs, weightStep, biasStep }, input, error, rate) {
  for (let j = 0; j < outputs; j++) biasStep[j] -= rate * error[j];
  for (let i = 0; i < inputs; i++) {
    const value = rate * input[i];
    if (value === 0) continue;
    const row = i * outputs;
    for (let j = 0; j < outputs; j++) weightStep[row + j] -= value * error[j];
  }
}

function backward({ inputs, outputs, weights }, error, inputValues, inputError) {
  for (let i = 0; i < inputs; i++) {
    let sum = 0;
    const row = i * outputs;
    if (inputValues[i] > 0) for (let j = 0; j < outputs; j++) sum += weights[row + j] * error[j];
    inputError[i] = sum;
  }
}

function apply({ weights, bias, weightStep, biasStep }) {
  for (let i = 0; i < weights.length; i++) weights[i] += weightStep[i];
  for (let i = 0; i < bias.length; i++) bias[i] += biasStep[i];
}

function decay({ weightStep, biasStep }) {
  for (let i = 0; i < weightStep.length; i++) weightStep[i] *= MOMENTUM;
  for (let i = 0; i < biasStep.length; i++) biasStep[i] *= MOMENTUM;
}

/** Rows of 64 values and their digits → two layers. The same seed and rows give the same weights. */
export function trainNetwork(rows, answers, seed) {
  const random = randomStream(seed, 1);
  const [first, second] = [layer(PIXELS, HIDDEN, random), layer(HIDDEN, DIGITS, random)];
  const [hidden, hiddenError, scores] = [new Float64Array(HIDDEN), new Float64Array(HIDDEN), new Float64Array(DIGITS)];
  const passes = Math.max(MIN_PASSES, Math.min(MAX_PASSES, Math.floor(ROWS_SHOWN / rows.length)));
  for (let pass = 0; pass < passes; pass++) {
    const order = draw(random, rows.length, rows.length);
    const rate = LEARNING_RATE * (1 - pass / passes);
    for (let start = 0; start < order.length; start += BATCH) {
      const batch = order.slice(start, start + BATCH);
      decay(first);
      decay(second);
      for (const index of batch) {
        forward(first, rows[index], hidden);
        relu(hidden);
        forward(second, hidden, scores);
        softmaxError(scores, answers[index]);
        backward(second, scores, hidden, hiddenError);
        accumulate(second, hidden, scores, rate / batch.length);
        accumulate(first, rows[index], hiddenError, rate / batch.length);
      }
      apply(first);
      apply(second);
    }
  }
  return [first, second];
}

/** The digit of each row. */
export function predict([first, second], rows) {
  const [hidden, scores] = [new Float64Array(first.outputs), new Float64Array(second.outputs)];
  return rows.map((row) => {
    forward(first, row, hidden);
    relu(hidden);
    forward(second, hidden, scores);
    return scores.indexOf(Math.max(...scores));
  });
}

/** The layers in the form of weights.json, which train.py writes too. */
export function plainLayers(layers) {
  return layers.map(({ inputs, outputs, weights, bias }) => ({
    weights: Array.from({ length: inputs }, (_, i) => Array.from(weights.subarray(i * outputs, (i + 1) * outputs))),
    bias: Array.from(bias),
  }));
}
