#!/usr/bin/env node
// train.py for machines without Python: the same parameters, the same files, the same reports. Plain Node ≥ 20, no package.
// It draws its own small data set (node/images.mjs), trains on it, and measures the model on images it never saw.

import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { drawImages, IMAGES, rotated } from './node/images.mjs';
import { plainLayers, predict, trainNetwork } from './node/network.mjs';
import { BadParameters, MAX_JSON_CHARACTERS, readParameters, TRAIN_POOL } from './node/parameters.mjs';
import { draw, randomStream } from './node/random.mjs';

const SLICE_IMAGES = 64;
// The split and the slices do not depend on `seed`: every model, old or new, is judged on the same held-out images.
const SPLIT_SEED = 1797;
const SLICE_SEED = 64;

const HELP = `usage: node train.mjs [--help] [--parameters JSON | --parameters-file PATH]

train.py for machines without Python: trains a small neural network on 1,797 digits that it draws itself, and measures it on
images it never saw. Parameters come from --parameters, --parameters-file or the environment variable MERIT_PARAMETERS.
Exit: 0 done, 1 the machine lacks something, 2 a parameter is wrong.

parameters (JSON; those marked * are required)
  model *          name in the reports, for instance "digits-v2"
  outputs *        "file:///absolute/folder"
  train *          {"images": 10..1200 *, "rotations": [degrees, ...]}; each image is learned at each angle; default [0]
  evaluate *       {"slices": N *, "fromSlice": K, "drift": {"fromSlice": K, "degrees": D}}
                   N reports from slice K on (default 0); slices from drift.fromSlice on show their images rotated
  demotedAtTick    RFC 3339; the first slice is moved to this time or later
  suite            default "digits"
  producer         default "by-hand"
  seed             default 1; weights and batches, never the split or the slices
  epoch            time of slice 0, RFC 3339; default "2026-01-05T09:00:00Z"
  tickSeconds      time from one slice to the next; default 60
Angles are counter-clockwise, -180 to 180.

outputs
  weights.json     the layers: {"layers": [{"weights": [[...]], "bias": [...]}, ...]}
  model.json       parameters, data set, versions, train accuracy, digest of the weights
  reports.ndjson   one EvalReport for each slice of ${SLICE_IMAGES} held-out images; written last

example
  node train.mjs --parameters '{"model": "digits-v1", "outputs": "file:///tmp/digits-v1",
    "train": {"images": 200}, "evaluate": {"slices": 10}}'
`;

/** Not the caller's mistake: a disk, a folder. The message names the mend. */
class MachineLacks extends Error {}

function main() {
  try {
    const text = parametersText();
    if (text === undefined) {
      process.stdout.write(HELP);
      return 0;
    }
    const parameters = readParameters(text);
    run(parameters, openStore(parameters.folder));
    return 0;
  } catch (error) {
    if (!(error instanceof BadParameters || error instanceof MachineLacks)) throw error;
    for (const problem of error.message.split('\n')) process.stderr.write(`train.mjs: ${problem}\n`);
    return error instanceof BadParameters ? 2 : 1;
  }
}

/** undefined: --help was asked for. */
function parametersText() {
  let options;
  try {
    options = parseArgs({
      options: {
        help: { type: 'boolean', short: 'h' },
        parameters: { type: 'string' },
        'parameters-file': { type: 'string' },
      },
    }).values;
  } catch (error) {
    throw new BadParameters([`command line: ${error.message} (see --help)`]);
  }
  if (options.help) return undefined;
  const file = options['parameters-file'];
  if (options.parameters !== undefined && file !== undefined) {
    throw new BadParameters(['command line: --parameters and --parameters-file exclude each other (pass one)']);
  }
  if (options.parameters !== undefined) return options.parameters;
  if (file !== undefined) {
    try {
      return readHead(file);
    } catch (error) {
      throw new BadParameters([`--parameters-file: cannot be read: ${error.message} (name a UTF-8 JSON file)`]);
    }
  }
  if (process.env.MERIT_PARAMETERS !== undefined) return process.env.MERIT_PARAMETERS;
  throw new BadParameters(['parameters: none given (pass --parameters JSON or set MERIT_PARAMETERS; see --help)']);
}

/** The file as text, or as much of it as is certainly too long. */
function readHead(path) {
  const bytes = Buffer.alloc(MAX_JSON_CHARACTERS * 4 + 4);
  const file = openSync(path, 'r');
  try {
    let length = 0;
    for (let read = 1; read > 0 && length < bytes.length; length += read) {
      read = readSync(file, bytes, length, bytes.length - length, null);
    }
    return bytes.toString('utf8', 0, length);
  } finally {
    closeSync(file);
  }
}

function run(parameters, store) {
  const { images, labels, sha256 } = drawImages();
  const order = draw(randomStream(SPLIT_SEED, 0), IMAGES, IMAGES);
  const trainPool = order.slice(0, TRAIN_POOL);
  const heldOut = order.slice(TRAIN_POOL);

  const { images: count, rotations } = parameters.train;
  const learned = rotations.flatMap((angle) => trainPool.slice(0, count).map((index) => ({ index, angle })));
  const rows = learned.map(({ index, angle }) => rotated(images[index], angle));
  const answers = learned.map(({ index }) => labels[index]);
  const layers = trainNetwork(rows, answers, parameters.seed);
  const trainAccuracy = fractionRight(predict(layers, rows), answers);
  process.stdout.write(
    `trained ${parameters.model} on ${rows.length} rows: ${trainAccuracy.toFixed(3)} right on its own training rows\n`,
  );

  const { fromSlice, slices } = parameters.evaluate;
  const held = { images: heldOut.map((index) => images[index]), labels: heldOut.map((index) => labels[index]) };
  const reports = Array.from({ length: slices }, (_, k) => sliceReport(parameters, layers, held, fromSlice + k));
  for (const { reportId, observedAt, metrics } of reports) {
    process.stdout.write(`${reportId} ${observedAt} accuracy ${metrics.accuracy.toFixed(3)}\n`);
  }

  const weights = `${JSON.stringify({ layers: plainLayers(layers) })}\n`;
  const { folder: _folder, outputs: _outputs, epochMs, ...described } = parameters;
  const model = {
    schemaVersion: 1,
    model: parameters.model,
    parameters: { ...described, epoch: new Date(epochMs).toISOString() },
    dataset: { name: 'drawn digits', sha256, images: IMAGES, trainPool: trainPool.length, heldOutPool: heldOut.length },
    trainRows: rows.length,
    trainAccuracy,
    weights: { file: 'weights.json', sha256: createHash('sha256').update(weights).digest('hex'), activation: 'relu' },
    versions: { node: process.versions.node },
  };
  store('weights.json', weights);
  store('model.json', `${JSON.stringify(model, null, 2)}\n`);
  store('reports.ndjson', reports.map((report) => `${JSON.stringify(report)}\n`).join(''));
}

function fractionRight(given, right) {
  return given.filter((answer, index) => answer === right[index]).length / right.length;
}

/** Slice `index` is the same 64 held-out images for every model; from drift.fromSlice on all of them are rotated. */
function sliceReport(parameters, layers, held, index) {
  const chosen = draw(randomStream(SLICE_SEED, index), held.images.length, SLICE_IMAGES);
  const { drift } = parameters.evaluate;
  const angle = drift !== undefined && index >= drift.fromSlice ? drift.degrees : 0;
  const rows = chosen.map((number) => rotated(held.images[number], angle));
  const start = process.hrtime.bigint();
  const answers = predict(layers, rows);
  const nanoseconds = Number(process.hrtime.bigint() - start);
  return {
    schemaVersion: 1,
    reportId: `${parameters.model}-s${index}`,
    producer: parameters.producer,
    model: parameters.model,
    suite: parameters.suite,
    observedAt: new Date(parameters.epochMs + index * parameters.tickSeconds * 1000).toISOString(),
    sampleSize: SLICE_IMAGES,
    metrics: {
      accuracy: fractionRight(
        answers,
        chosen.map((number) => held.labels[number]),
      ),
      latency_ms: nanoseconds / SLICE_IMAGES / 1e6,
    },
    labels: { slice: String(index), driftDegrees: String(angle) },
  };
}

/** A function store(name, text). Each file appears whole or not at all. */
function openStore(folder) {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw new MachineLacks(`outputs: cannot make the folder: ${error.message} (choose one you may write)`);
  }
  return (name, text) => {
    const temporary = join(folder, `.${name}.${process.pid}.tmp`);
    try {
      writeFileSync(temporary, text, { flush: true });
      renameSync(temporary, join(folder, name));
    } catch (error) {
      rmSync(temporary, { force: true });
      throw new MachineLacks(
        `outputs: cannot write ${name}: ${error.message} (free some disk, or choose another folder)`,
      );
    }
  };
}

process.exitCode = main();
