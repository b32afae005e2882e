import { blanks, byte, CLOSE_BRACE, COMMA, LF, MINUS, OPEN_BRACE, OPEN_BRACKET, QUOTE, ZERO } from '../simd-json-wasm/assembly/bytes';
import { faultCode, MEMORY } from '../simd-json-wasm/assembly/fault';
import { intern, NO_ID } from '../simd-json-wasm/assembly/intern';
import { skipWord } from '../simd-json-wasm/assembly/skip';
import { TEXT_ESCAPED, textEnd, textKind } from '../simd-json-wasm/assembly/text';
import { hostReached, LIMIT_MEMORY, LIMIT_MODELS } from './host';
import { isSoon, NO_INSTANT, readInstant, soon } from './instant';
import {
  beginMembers, createMembers, MEMBER, MEMBER_NUMBER, Members, noteMember, numberRead, putKey, putMember, putMembers, readCanonicalNumber, readCanonicalText, readMembers,
  startMembers, takePiece,
} from './members';
import { nameEnd } from './name-text';
import { instants, metricStride, models, present, presentWords, quantised, suitesOf, values, weights } from './rows';
import {
  depthOf, LABELS, LABELS_MEMBER, literalLength, memberAt, METRICS, METRICS_MEMBER, MODEL, OBSERVED_AT, orderOf, PRODUCER, REPORT_ID,
  roleOf, SAMPLE_SIZE, SCHEMA_VERSION, shapeOf, SUITE, tidyShapes, TOP,
} from './shapes';
import { findSuite, metricAt, metricOf, NO_METRIC, NO_SUITE } from './suites';
import { beginVerdict, refuse } from './verdict';

/**
 * One line by the fast path: sure of everything that the reference checks, or 0 (verdict.ts). It never says why a line is refused: codes, positions and words of faults are the reference's alone.
 */

/** w ≤ 2^20 and |q| ≤ 2^40, as scoring.md says. */
const MAX_WEIGHT: f64 = 1048576;
const MAX_Q: f64 = 1099511627776;

/** Roles that a report cannot lack, one bit each. */
const REQUIRED: u32 =
  (1 << SCHEMA_VERSION) | (1 << REPORT_ID) | (1 << PRODUCER) | (1 << MODEL) | (1 << SUITE) | (1 << OBSERVED_AT) | (1 << METRICS_MEMBER);

let top: Members = changetype<Members>(0);
let metrics: Members = changetype<Members>(0);
let labels: Members = changetype<Members>(0);
let modelNames: usize = 0;

/** The producer and the report's id of the line read last. */
export let producerAt: usize = 0;
export let producerLength: usize = 0;
export let reportIdAt: usize = 0;
export let reportIdLength: usize = 0;

let modelAt: usize = 0;
let modelLength: usize = 0;
let suiteAt: usize = 0;
let suiteLength: usize = 0;
let instant: i64 = 0;
let weight: u32 = 1;

export function startReports(modelTable: usize): void {
  startMembers();
  top = createMembers();
  metrics = createMembers();
  labels = createMembers();
  modelNames = modelTable;
}

/** Reads the report at p into the row, but for its status, key and digest; the line feed that ends it, or 0. */
export function readReport(p: usize, row: u32): usize {
  tidyShapes();
  beginMembers();
  beginVerdict();
  p = blanks(p);
  if (byte(p) != OPEN_BRACE) return refuse();
  const end = readTop(p + 1);
  if (end == 0) return 0;
  return fillRow(row) ? end : refuse();
}

function readTop(p: usize): usize {
  let node = shapeOf(TOP);
  let member = top.list;
  let seen: u32 = 0;
  let more = true;
  weight = 1;
  while (more) {
    node = memberAt(TOP, node, p);
    if (node == 0) return 0;
    const role = roleOf(node);
    p = readMember(role, blanks(p + literalLength(node)));
    if (p == 0) return 0;
    seen |= 1 << role;
    noteMember(member, node);
    member += MEMBER;
    p = blanks(p);
    more = byte(p) == COMMA;
    p++;
  }
  if (byte(p - 1) != CLOSE_BRACE || (seen & REQUIRED) != REQUIRED) return refuse();
  if (orderOf(node) == 0) return 0;
  top.node = node;
  top.count = depthOf(node);
  p = blanks(p);
  return byte(p) == LF ? p : refuse();
}

/** Reads the value of a member of the report itself. */
// @ts-ignore: decorator
@inline
function readMember(role: u32, p: usize): usize {
  if (role == METRICS_MEMBER) return readMembers(METRICS, p, metrics);
  if (role == LABELS_MEMBER) return readMembers(LABELS, p, labels);
  if (role == SCHEMA_VERSION) return readVersion(p);
  if (role == SAMPLE_SIZE) return readWeight(p);
  if (role == 0) return readOther(p);
  if (byte(p) != QUOTE) return refuse();
  return role == OBSERVED_AT ? readObservedAt(p) : readNameOf(role, p);
}

function readVersion(p: usize): usize {
  // `1,`
  if (load<u16>(p) == 0x2c31) {
    takePiece(p, 1);
    return p + 1;
  }
  if (byte(p) - ZERO > 9) return refuse();
  const end = readCanonicalNumber(p);
  return numberRead == 1 || end == 0 ? end : refuse();
}

function readWeight(p: usize): usize {
  if (byte(p) - ZERO > 9) return refuse();
  const end = readCanonicalNumber(p);
  if (end == 0) return 0;
  if (!(numberRead >= 1 && numberRead <= MAX_WEIGHT) || floor(numberRead) != numberRead) return refuse();
  weight = <u32>numberRead;
  return end;
}

function readObservedAt(p: usize): usize {
  if (isSoon(p + 1)) {
    instant = soon(p + 1);
    takePiece(p, 26);
    return p + 26;
  }
  const end = textEnd(p + 1);
  if (end == 0 || textKind != 0) return unusualName(p);
  const length = end - p - 1;
  takePiece(p, length + 2);
  instant = readInstant(p + 1, length);
  return instant != NO_INSTANT ? end + 1 : refuse();
}

function readNameOf(role: u32, p: usize): usize {
  const end = nameEnd(p + 1);
  if (end == 0) return unusualName(p);
  const length = end - p - 1;
  takePiece(p, length + 2);
  if (role == REPORT_ID) {
    reportIdAt = p + 1;
    reportIdLength = length;
  } else if (role == PRODUCER) {
    producerAt = p + 1;
    producerLength = length;
  } else if (role == MODEL) {
    modelAt = p + 1;
    modelLength = length;
  } else {
    suiteAt = p + 1;
    suiteLength = length;
  }
  return end + 1;
}

/** A string that is no name or instant as it stands: it may be one where escapes are decoded. */
function unusualName(p: usize): usize {
  return textEnd(p + 1) != 0 && (textKind & TEXT_ESCAPED) != 0 ? 0 : refuse();
}

/** A member that no rule knows: it counts for the content only. Objects and arrays are the reference's. */
function readOther(p: usize): usize {
  const c = byte(p);
  if (c == QUOTE) return readCanonicalText(p);
  if (c - ZERO <= 9 || c == MINUS) return readCanonicalNumber(p);
  if (c == OPEN_BRACE || c == OPEN_BRACKET) return 0;
  const end = skipWord(p);
  if (end == 0) return refuse();
  takePiece(p, end - p);
  return end;
}

function fillRow(row: u32): bool {
  const suite = findSuite(suiteAt, suiteLength);
  if (!fillValues(row, suite)) return false;
  const model = internModel(modelAt, modelLength);
  const word = <usize>row << 2;
  store<i32>(suitesOf + word, suite);
  store<u32>(models + word, model);
  store<u32>(weights + word, weight);
  store<f64>(instants + (word << 1), <f64>instant);
  return true;
}

export function internModel(p: usize, length: usize): u32 {
  const model = intern(modelNames, p, length, p);
  if (model == NO_ID) hostReached(faultCode == MEMORY ? LIMIT_MEMORY : LIMIT_MODELS);
  return model;
}

/** The values that the suite knows; false where it refuses one. */
function fillValues(row: u32, suite: i32): bool {
  clearValues(row);
  if (suite == NO_SUITE) return true;
  let member = metrics.list;
  const end = member + <usize>metrics.count * MEMBER;
  while (member < end) {
    const metric = metricOf(suite, roleOf(load<usize>(member)));
    if (metric != NO_METRIC && !fillValue(row, suite, metric, load<f64>(member, MEMBER_NUMBER))) return false;
    member += MEMBER;
  }
  return true;
}

// @ts-ignore: decorator
@inline
export function clearValues(row: u32): void {
  const at = present + ((<usize>row * presentWords) << 2);
  for (let i: usize = 0; i < <usize>presentWords; i++) store<u32>(at + (i << 2), 0);
}

/** One value of the row, checked against the suite: valid first, then range; q = roundTiesToEven(x × 10^scale), one IEEE product. */
// @ts-ignore: decorator
@inline
export function fillValue(row: u32, suite: i32, metric: u32, x: f64): bool {
  const rule = metricAt(suite, metric);
  if (!(x >= load<f64>(rule, 8) && x <= load<f64>(rule, 16))) return false;
  // Minus zero becomes zero.
  const q = nearest(x * load<f64>(rule)) + 0.0;
  if (!(abs(q) <= MAX_Q)) return false;
  const at = (<usize>row * metricStride + metric) << 3;
  store<f64>(values + at, x);
  store<f64>(quantised + at, q);
  const bits = present + ((<usize>row * presentWords + (metric >> 5)) << 2);
  store<u32>(bits, load<u32>(bits) | (1 << (metric & 31)));
  return true;
}

/** Writes the RFC 8785 form of the line read last; returns its end. Up to COPY_SPILL bytes behind that are spoiled. */
export function putReport(to: usize): usize {
  store<u8>(to++, <u8>OPEN_BRACE);
  const order = orderOf(top.node);
  for (let i: u32 = 0; i < top.count; i++) {
    const member = top.list + <usize>load<u16>(order + (<usize>i << 1)) * MEMBER;
    const node = load<usize>(member);
    const role = roleOf(node);
    if (role == METRICS_MEMBER || role == LABELS_MEMBER) {
      to = putMembers(putKey(to, node), role == METRICS_MEMBER ? metrics : labels);
      store<u8>(to++, <u8>COMMA);
    } else {
      to = putMember(to, member);
    }
  }
  store<u8>(to - 1, <u8>CLOSE_BRACE);
  return to;
}
