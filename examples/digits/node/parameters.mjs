// The parameters of train.mjs: the same contract as parameters.py, checked whole before anything is trained.

export const TRAIN_POOL = 1200;
export const MAX_JSON_CHARACTERS = 65_536;
const MAX_SLICES = 10_000;
const MAX_SLICE_INDEX = 1_000_000;
const MAX_ROTATIONS = 16;
const MAX_TICK_SECONDS = 86_400;
const MAX_SEED = 2 ** 32 - 1;
const MAX_SHOWN = 64;
const YEAR_10000_MS = Date.UTC(10_000, 0, 1);

const NAME = /^[A-Za-z0-9._-]{1,64}$/;
const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))$/;

const DEFAULTS = { suite: 'digits', producer: 'by-hand', seed: 1, epoch: '2026-01-05T09:00:00Z', tickSeconds: 60 };

/** Every problem found, one line each: `field: problem (mend)`. */
export class BadParameters extends Error {
  constructor(problems) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

/** The parameters with defaults filled in, `evaluate.fromSlice` moved behind `demotedAtTick`, `epochMs` and `folder`. */
export function readParameters(text) {
  const given = parseObject(text);
  const problems = [];
  const bad = (field, problem, mend) => problems.push(`${field}: ${problem} (${mend})`);

  members(given, '', ['model', 'train', 'evaluate', 'outputs'], [...Object.keys(DEFAULTS), 'demotedAtTick'], bad);
  const found = { ...DEFAULTS, ...given };
  for (const field of ['model', 'suite', 'producer']) if (field in found) name(found[field], field, bad);
  integer(found.seed, 'seed', 0, MAX_SEED, bad);
  integer(found.tickSeconds, 'tickSeconds', 1, MAX_TICK_SECONDS, bad);
  const epochMs = instant(found.epoch, 'epoch', bad);
  const demotedMs = 'demotedAtTick' in found ? instant(found.demotedAtTick, 'demotedAtTick', bad) : undefined;
  if ('train' in found) found.train = checkTrain(found.train, bad);
  if ('evaluate' in found) found.evaluate = checkEvaluate(found.evaluate, bad);
  const folder = 'outputs' in found ? checkOutputs(found.outputs, bad) : undefined;
  if (problems.length === 0) placeSlices(found, epochMs, demotedMs, bad);
  if (problems.length > 0) throw new BadParameters(problems);
  return { ...found, epochMs, folder };
}

function parseObject(text) {
  if (text.length > MAX_JSON_CHARACTERS) {
    throw new BadParameters([`parameters: longer than ${MAX_JSON_CHARACTERS} characters (shorten them)`]);
  }
  let value;
  try {
    value = JSON.parse(text);
    refuseDuplicates(text);
  } catch (error) {
    throw new BadParameters([
      `parameters: not valid JSON: ${error.message.replaceAll(/\s+/g, ' ')} (write one JSON object)`,
    ]);
  }
  if (!isObject(value)) throw new BadParameters(['parameters: not a JSON object (write one JSON object)']);
  return value;
}

/** JSON.parse keeps the last of two equal members without a word. `text` is valid JSON here. */
function refuseDuplicates(text) {
  const open = [];
  let last;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:]/g)) {
    if (token === '{' || token === '[') open.push(new Set());
    else if (token === '}' || token === ']') open.pop();
    else if (token === ':') {
      const members = open[open.length - 1];
      const key = JSON.parse(last);
      if (members.has(key)) throw new Error(`the member ${last} stands twice`);
      members.add(key);
    } else last = token;
  }
}

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function members(value, prefix, required, optional, bad) {
  for (const key of required) {
    if (!Object.hasOwn(value, key)) bad(prefix + key, 'missing', 'add it; --help lists every parameter');
  }
  for (const key of Object.keys(value)) {
    if (required.includes(key) || optional.includes(key)) continue;
    bad(prefix + shown(key), 'unknown parameter', 'remove it; --help lists every parameter');
  }
}

/** A key on one line, whatever is in it. */
function shown(key) {
  return JSON.stringify(key).slice(1, -1).slice(0, MAX_SHOWN);
}

function name(value, field, bad) {
  if (typeof value === 'string' && NAME.test(value)) return;
  bad(field, 'must be 1 to 64 characters of A-Z a-z 0-9 . _ -', 'rename it');
}

function integer(value, field, least, most, bad) {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  bad(field, `must be an integer from ${least} to ${most}`, 'write such a number, without quotes or a point');
}

function degrees(value, field, bad) {
  if (typeof value === 'number' && value >= -180 && value <= 180) return;
  bad(field, 'must be a number of degrees from -180 to 180', 'write such a number, without quotes');
}

/** RFC 3339 with a zone, as milliseconds in UTC; digits after the millisecond are cut off. */
function instant(value, field, bad) {
  const match = typeof value === 'string' ? RFC3339.exec(value) : null;
  const mend = 'write it as 2026-01-05T09:00:00Z';
  if (match === null) {
    bad(field, 'must be an RFC 3339 time with a zone', mend);
    return undefined;
  }
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number);
  const local = new Date(0);
  local.setUTCFullYear(year, month - 1, day);
  local.setUTCHours(hour, minute, second, Number((match[7] ?? '').padEnd(3, '0').slice(0, 3)));
  const real =
    year >= 1 &&
    local.getUTCMonth() === month - 1 &&
    local.getUTCDate() === day &&
    hour <= 23 &&
    minute <= 59 &&
    second <= 59 &&
    Number(match[9] ?? 0) <= 23 &&
    Number(match[10] ?? 0) <= 59;
  if (!real) {
    bad(field, 'is not a time of the calendar', mend);
    return undefined;
  }
  const offsetMs = (Number(match[9] ?? 0) * 60 + Number(match[10] ?? 0)) * 60_000 * (match[8] === '-' ? -1 : 1);
  return local.getTime() - offsetMs;
}

function checkTrain(value, bad) {
  if (!isObject(value)) {
    bad('train', 'must be an object', 'write {"images": 1200, "rotations": [0]}');
    return value;
  }
  members(value, 'train.', ['images'], ['rotations'], bad);
  const found = { rotations: [0], ...value };
  if ('images' in found) integer(found.images, 'train.images', 10, TRAIN_POOL, bad);
  if (!Array.isArray(found.rotations) || found.rotations.length < 1 || found.rotations.length > MAX_ROTATIONS) {
    bad('train.rotations', `must be a list of 1 to ${MAX_ROTATIONS} angles`, 'write [0] for upright images only');
    return found;
  }
  found.rotations.forEach((angle, index) => {
    degrees(angle, `train.rotations[${index}]`, bad);
    if (found.rotations.indexOf(angle) < index) {
      bad(`train.rotations[${index}]`, 'stands twice', 'name each angle once');
    }
  });
  return found;
}

function checkEvaluate(value, bad) {
  if (!isObject(value)) {
    bad('evaluate', 'must be an object', 'write {"slices": 40}');
    return value;
  }
  members(value, 'evaluate.', ['slices'], ['fromSlice', 'drift'], bad);
  const found = { fromSlice: 0, ...value };
  if ('slices' in found) integer(found.slices, 'evaluate.slices', 1, MAX_SLICES, bad);
  integer(found.fromSlice, 'evaluate.fromSlice', 0, MAX_SLICE_INDEX, bad);
  if (!('drift' in found)) return found;
  if (!isObject(found.drift)) {
    bad('evaluate.drift', 'must be an object', 'write {"fromSlice": 45, "degrees": 40}, or leave it out');
    return found;
  }
  members(found.drift, 'evaluate.drift.', ['fromSlice', 'degrees'], [], bad);
  if ('fromSlice' in found.drift) {
    integer(found.drift.fromSlice, 'evaluate.drift.fromSlice', 0, MAX_SLICE_INDEX, bad);
  }
  if ('degrees' in found.drift) degrees(found.drift.degrees, 'evaluate.drift.degrees', bad);
  return found;
}

/** The absolute folder of this machine that a file: address names. */
function checkOutputs(value, bad) {
  const mend = 'write file:///absolute/folder';
  if (typeof value === 'string' && value.startsWith('s3:')) {
    bad('outputs', 's3: is for train.py, which has an S3 client', `${mend}, or run train.py`);
    return undefined;
  }
  const match = typeof value === 'string' ? /^file:\/\/(?:localhost)?(\/[^?#]*)$/.exec(value) : null;
  let folder;
  try {
    folder = match === null ? undefined : decodeURIComponent(match[1]);
  } catch {
    // a % that starts no escape: told below
  }
  if (folder === undefined || /^\/*$/.test(folder)) {
    bad('outputs', 'must name an absolute folder of this machine', mend);
    return undefined;
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (folder.split('/').includes('..') || /[\u0000-\u001f]/.test(folder)) {
    bad('outputs', 'must have no .. step and no control character', mend);
    return undefined;
  }
  return folder;
}

/** The first slice is never before `demotedAtTick`: evidence for a new challenge starts after the demotion. */
function placeSlices(found, epochMs, demotedMs, bad) {
  const tickMs = found.tickSeconds * 1000;
  const { evaluate } = found;
  if (demotedMs !== undefined) {
    evaluate.fromSlice = Math.max(evaluate.fromSlice, Math.ceil((demotedMs - epochMs) / tickMs));
    if (evaluate.fromSlice > MAX_SLICE_INDEX) {
      bad('demotedAtTick', `is more than ${MAX_SLICE_INDEX} slices after epoch`, 'give the epoch of the live traffic');
      return;
    }
  }
  const last = evaluate.fromSlice + evaluate.slices - 1;
  if (epochMs + last * tickMs >= YEAR_10000_MS) {
    bad('epoch', 'puts the last slice after the year 9999', 'take an earlier epoch');
  }
  if (`${found.model}-s${last}`.length > 64) {
    bad('model', `leaves no room for -s${last} in a report id of 64 characters`, 'shorten it');
  }
}
