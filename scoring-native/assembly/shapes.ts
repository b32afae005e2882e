import { blanks, byte, COLON, QUOTE, same } from '../simd-json-wasm/assembly/bytes';
import { TEXT_ESCAPED, TEXT_WIDE, textEnd, textKind } from '../simd-json-wasm/assembly/text';
import { allocate } from './blocks';
import { MAX_NAME, nameEnd } from './name-text';
import { knownMetric } from './suites';
import { refuse } from './verdict';

/**
 * What the keys of objects looked like so far, as a tree: a node is a member that followed its parent, with the literal bytes from behind
 * `{` or `,` to the value, blanks included. Reports of one producer repeat the same keys in the same order, so that a line is mostly read
 * by comparing it with what stood there before: no scan for a quote, no hash, no search for a key that stands twice (each node was compared
 * with its ancestors when it was learned), and the order that RFC 8785 asks for is known.
 */

/** Of which object a node is a member. */
export const TOP: u32 = 0;
export const METRICS: u32 = 1;
export const LABELS: u32 = 2;
const OBJECTS: usize = 3;

/** Members of the object itself, by the role of their nodes; 0 is any other. In METRICS the role is the number of the metric's name. */
export const SCHEMA_VERSION: u32 = 1;
export const REPORT_ID: u32 = 2;
export const PRODUCER: u32 = 3;
export const MODEL: u32 = 4;
export const SUITE: u32 = 5;
export const OBSERVED_AT: u32 = 6;
export const SAMPLE_SIZE: u32 = 7;
export const METRICS_MEMBER: u32 = 8;
export const LABELS_MEMBER: u32 = 9;

/** Members of one object; a line with more is the reference's. */
export const MAX_MEMBERS: u32 = 256;
const MAX_KEY: usize = MAX_NAME;
const MAX_LITERAL: usize = 96;
/** Nodes in all; when they are used up, everything is learned again. */
const MAX_NODES: usize = 8192;
/** Children of one node; one more, and the node forgets those it has. */
const MAX_CHILDREN: u32 = 8;
/** Bytes for the orders of objects met so far. */
const MAX_ORDERS: usize = 1 << 18;

const CHILD: usize = 0;
const SIBLING: usize = 4;
const PARENT: usize = 8;
const LITERAL_LENGTH: usize = 12;
/** Where in the node the key begins with its quote, and how long it is with both quotes. */
const KEY_AT: usize = 16;
const KEY_LENGTH: usize = 20;
const ROLE: usize = 24;
/** Members up to this one. */
const DEPTH: usize = 28;
/** Are the literals up to this one just `"key":`? */
const COMPACT: usize = 32;
const CHILDREN: usize = 36;
/** The order of the object that ends with this member, 0 where it is not known yet. */
const ORDER: usize = 40;
/** Do the members stand in that order already? */
const SORTED: usize = 44;
const LITERAL: usize = 48;
const NODE: usize = LITERAL + MAX_LITERAL + 64;

let nodes: usize = 0;
let used: usize = 0;
let orders: usize = 0;
let ordersUsed: usize = 0;
let full: bool = false;

export function startShapes(): void {
  nodes = allocate(MAX_NODES * NODE);
  orders = allocate(MAX_ORDERS);
  forgetShapes();
}

/** Learns anew; also to be called when a suite brought names of metrics. */
export function forgetShapes(): void {
  memory.fill(nodes, 0, OBJECTS * NODE);
  for (let object: usize = 0; object < OBJECTS; object++) store<u32>(nodes + object * NODE, 1, COMPACT);
  used = OBJECTS;
  ordersUsed = 0;
  full = false;
}

/** To be called between lines: nodes of a line that is being read stay. */
// @ts-ignore: decorator
@inline
export function tidyShapes(): void {
  if (full) forgetShapes();
}

/** Where an object begins. */
// @ts-ignore: decorator
@inline
export function shapeOf(object: u32): usize {
  return nodes + <usize>object * NODE;
}

// @ts-ignore: decorator
@inline
export function roleOf(node: usize): u32 {
  return load<u32>(node, ROLE);
}

// @ts-ignore: decorator
@inline
export function depthOf(node: usize): u32 {
  return load<u32>(node, DEPTH);
}

// @ts-ignore: decorator
@inline
export function isCompact(node: usize): bool {
  return load<u32>(node, COMPACT) != 0;
}

// @ts-ignore: decorator
@inline
export function literalLength(node: usize): usize {
  return load<usize>(node, LITERAL_LENGTH);
}

// @ts-ignore: decorator
@inline
export function keyAt(node: usize): usize {
  return node + load<usize>(node, KEY_AT);
}

/** The key's length with both quotes. */
// @ts-ignore: decorator
@inline
export function keyLength(node: usize): usize {
  return load<usize>(node, KEY_LENGTH);
}

/** The node of the member at p, which follows `node`; its value begins literalLength on. Or 0. */
// @ts-ignore: decorator
@inline
export function memberAt(object: u32, node: usize, p: usize): usize {
  const child = load<usize>(node, CHILD);
  if (child != 0 && same(child + LITERAL, p, load<usize>(child, LITERAL_LENGTH))) return child;
  return otherMember(object, node, p);
}

function otherMember(object: u32, node: usize, p: usize): usize {
  let child = load<usize>(node, CHILD);
  while (child != 0 && !same(child + LITERAL, p, load<usize>(child, LITERAL_LENGTH))) child = load<usize>(child, SIBLING);
  return child != 0 ? child : learn(object, node, p);
}

function learn(object: u32, parent: usize, p: usize): usize {
  const quote = blanks(p);
  // An object of blanks only may be sound.
  if (byte(quote) != QUOTE) return depthOf(parent) == 0 ? 0 : refuse();
  if (depthOf(parent) >= MAX_MEMBERS) return 0;
  const end = object == METRICS ? nameEnd(quote + 1) : keyEnd(quote + 1);
  if (end == 0) return 0;
  const length = end + 1 - quote;
  const colon = blanks(end + 1);
  if (byte(colon) != COLON) return refuse();
  const literal = blanks(colon + 1) - p;
  if (stands(parent, quote, length)) return refuse();
  if (literal > MAX_LITERAL || isForbidden(quote + 1, length - 2)) return 0;
  if (used == MAX_NODES) {
    full = true;
    return 0;
  }
  const node = nodes + used++ * NODE;
  memory.fill(node, 0, NODE);
  memory.copy(node + LITERAL, p, literal);
  store<usize>(node, parent, PARENT);
  store<usize>(node, literal, LITERAL_LENGTH);
  store<usize>(node, LITERAL + (quote - p), KEY_AT);
  store<usize>(node, length, KEY_LENGTH);
  store<u32>(node, object == TOP ? topRole(quote + 1, length - 2) : object == METRICS ? knownMetric(quote + 1, length - 2) : 0, ROLE);
  store<u32>(node, depthOf(parent) + 1, DEPTH);
  store<u32>(node, <u32>(isCompact(parent) && literal == length + 1), COMPACT);
  adopt(parent, node);
  return node;
}

function adopt(parent: usize, node: usize): void {
  const children = load<u32>(parent, CHILDREN);
  if (children == MAX_CHILDREN) {
    store<u32>(parent, 1, CHILDREN);
  } else {
    store<usize>(node, load<usize>(parent, CHILD), SIBLING);
    store<u32>(parent, children + 1, CHILDREN);
  }
  store<usize>(parent, node, CHILD);
}

/** The closing quote of a key that may be learned, or 0: no escapes, and no characters whose order in UTF-16 is not that of their bytes. */
function keyEnd(p: usize): usize {
  const end = textEnd(p);
  if (end == 0) return refuse();
  if ((textKind & TEXT_ESCAPED) != 0 || end - p > MAX_KEY) return 0;
  if ((textKind & TEXT_WIDE) != 0) {
    for (let at = p; at < end; at++) if (byte(at) >= 0xf0) return 0;
  }
  return end;
}

/** `__proto__`, and what could be `constructor.prototype`: for the reference to judge. */
function isForbidden(p: usize, length: usize): bool {
  // "__proto_" "_", "prototyp" "e"; "construc" "tor"
  if (length == 9) {
    const word = load<u64>(p);
    return (word == 0x5f6f746f72705f5f && byte(p + 8) == 0x5f) || (word == 0x7079746f746f7270 && byte(p + 8) == 0x65);
  }
  return length == 11 && load<u64>(p) == 0x63757274736e6f63 && load<u16>(p + 8) == 0x6f74 && byte(p + 10) == 0x72;
}

/** Is the key, given with both quotes, already one of the members up to `node`? */
function stands(node: usize, key: usize, length: usize): bool {
  while (load<usize>(node, PARENT) != 0) {
    if (keyLength(node) == length && same(keyAt(node), key, length)) return true;
    node = load<usize>(node, PARENT);
  }
  return false;
}

function isText(p: usize, length: usize, text: usize, textLength: usize): bool {
  return length == textLength && same(p, text, length);
}

const ROLE_NAMES: usize = memory.data<u8>([
  0x73, 0x63, 0x68, 0x65, 0x6d, 0x61, 0x56, 0x65, 0x72, 0x73, 0x69, 0x6f, 0x6e, 0, 0, 13, // schemaVersion
  0x72, 0x65, 0x70, 0x6f, 0x72, 0x74, 0x49, 0x64, 0, 0, 0, 0, 0, 0, 0, 8, // reportId
  0x70, 0x72, 0x6f, 0x64, 0x75, 0x63, 0x65, 0x72, 0, 0, 0, 0, 0, 0, 0, 8, // producer
  0x6d, 0x6f, 0x64, 0x65, 0x6c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, // model
  0x73, 0x75, 0x69, 0x74, 0x65, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, // suite
  0x6f, 0x62, 0x73, 0x65, 0x72, 0x76, 0x65, 0x64, 0x41, 0x74, 0, 0, 0, 0, 0, 10, // observedAt
  0x73, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x53, 0x69, 0x7a, 0x65, 0, 0, 0, 0, 0, 10, // sampleSize
  0x6d, 0x65, 0x74, 0x72, 0x69, 0x63, 0x73, 0, 0, 0, 0, 0, 0, 0, 0, 7, // metrics
  0x6c, 0x61, 0x62, 0x65, 0x6c, 0x73, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, // labels
]);

function topRole(p: usize, length: usize): u32 {
  for (let role: u32 = 1; role <= LABELS_MEMBER; role++) {
    const name = ROLE_NAMES + (<usize>(role - 1) << 4);
    if (isText(p, length, name, <usize>byte(name + 15))) return role;
  }
  return 0;
}

/** The members of the object that ends with `node`, as 16-bit numbers in the order of RFC 8785; 0 where there is no room. */
// @ts-ignore: decorator
@inline
export function orderOf(node: usize): usize {
  const order = load<usize>(node, ORDER);
  return order != 0 ? order : sortMembers(node);
}

/** Only where orderOf gave an order. */
// @ts-ignore: decorator
@inline
export function isSorted(node: usize): bool {
  return load<u32>(node, SORTED) != 0;
}

const PATH: usize = memory.data((<i32>MAX_MEMBERS + 1) << 2, 16);

function sortMembers(node: usize): usize {
  const count = depthOf(node);
  if (ordersUsed + <usize>((count + 1) << 1) > MAX_ORDERS) {
    full = true;
    return 0;
  }
  const order = orders + ordersUsed;
  ordersUsed += <usize>((count + 1) << 1);
  let at = node;
  for (let i = count; i > 0; i--) {
    store<usize>(PATH + (<usize>(i - 1) << 2), at);
    at = load<usize>(at, PARENT);
  }
  let sorted = true;
  for (let i: u32 = 0; i < count; i++) {
    const member = load<usize>(PATH + (<usize>i << 2));
    let place = i;
    while (place > 0 && isBefore(member, load<usize>(PATH + (<usize>load<u16>(order + (<usize>(place - 1) << 1)) << 2)))) {
      store<u16>(order + (<usize>place << 1), load<u16>(order + (<usize>(place - 1) << 1)));
      place--;
      sorted = false;
    }
    store<u16>(order + (<usize>place << 1), <u16>i);
  }
  store<usize>(node, order, ORDER);
  store<u32>(node, <u32>sorted, SORTED);
  return order;
}

/** By bytes, which is by UTF-16 code units for the keys that are learned; the closing quote does not count. */
function isBefore(a: usize, b: usize): bool {
  const lengthA = keyLength(a) - 2;
  const lengthB = keyLength(b) - 2;
  const order = memory.compare(keyAt(a) + 1, keyAt(b) + 1, min(lengthA, lengthB));
  return order < 0 || (order == 0 && lengthA < lengthB);
}
