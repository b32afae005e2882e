import { byte, hashOf, QUOTE, same } from './bytes';
import { DUPLICATE_KEY, fault, FORBIDDEN_KEY, JSON_SYNTAX, MEMORY } from './fault';
import { take } from './heap';
import { lineLimit, refusePrototype } from './limits';
import { decodeText, TEXT_ESCAPED, textEnd, textKind } from './text';

/**
 * Keys of objects that no schema describes, to find one that stands twice. A stack of the keys of all open objects: up to SMALL are
 * compared one by one; an object with more has its keys in a hash table too, so that a line of any keys takes time in its length.
 */
const SMALL: u32 = 16;

/** A key: hash, length, place. */
const KEY_BYTES: usize = 16;
let keys: usize = 0;
let keyCapacity: u32 = 0;
/** Keys on the stack. An object's own start where this stood when it was opened. */
export let keyCount: u32 = 0;

/** A slot: object (8 bytes), hash, length, place. What belongs to an object of an earlier line is empty. */
const SLOT_BYTES: usize = 24;
let slots: usize = 0;
let slotMask: u32 = 0;
let slotsUsed: u32 = 0;
let firstObject: u64 = 1;
let lastObject: u64 = 0;

/** Texts with escapes, decoded; together they are no longer than the line. */
let decoded: usize = 0;
let decodedTop: usize = 0;

/** Where readName left the name, escapes decoded. */
export let nameAt: usize = 0;
export let nameLength: usize = 0;
/** The hash of the name that addName took last. */
export let nameHash: u32 = 0;

/** To be called before each line. */
export function beginLine(): void {
  keyCount = 0;
  decodedTop = decoded;
  slotsUsed = 0;
  firstObject = lastObject + 1;
}

/** Opens an object: the number it is known by in addName. */
export function openObject(): u64 {
  return ++lastObject;
}

/** Forgets the keys above `base`, where the stack stood when the object was opened. */
export function closeObject(base: u32): void {
  keyCount = base;
}

/** Reads the string whose content starts at p, decoded into nameAt and nameLength; past its closing quote. */
// @ts-ignore: decorator
@inline
export function readName(p: usize): usize {
  const end = textEnd(p);
  if (end == 0) return 0;
  nameAt = p;
  nameLength = end - p;
  return (textKind & TEXT_ESCAPED) == 0 || decodeName(end) ? end + 1 : 0;
}

function decodeName(end: usize): bool {
  if (decoded == 0) {
    decoded = take(<usize>lineLimit + 16);
    if (decoded == 0) return fault(MEMORY, nameAt) != 0;
    decodedTop = decoded;
  }
  const to = decodedTop;
  decodedTop = decodeText(nameAt, end, to) + 1;
  nameAt = to;
  nameLength = decodedTop - 1 - to;
  return true;
}

/** Is the name in nameAt one that would reach an object's prototype? */
export function forbiddenName(underConstructor: bool): bool {
  if (!refusePrototype || nameLength != 9) return false;
  // "__proto_" "_", "prototyp" "e"
  const word = load<u64>(nameAt);
  const last = byte(nameAt + 8);
  return (word == 0x5f6f746f72705f5f && last == 0x5f) || (underConstructor && word == 0x7079746f746f7270 && last == 0x65);
}

/** Is the name in nameAt `constructor`? */
export function isConstructor(): bool {
  return isConstructorText(nameAt, nameLength);
}

export function isConstructorText(p: usize, length: usize): bool {
  // "construc" "to" "r"
  return length == 11 && load<u64>(p) == 0x63757274736e6f63 && load<u16>(p + 8) == 0x6f74 && byte(p + 10) == 0x72;
}

/** Adds the name in nameAt, whose opening quote is at `at`, to an object; false where it stands there already or must not stand. */
export function addName(object: u64, base: u32, at: usize, underConstructor: bool): bool {
  if (forbiddenName(underConstructor)) return fault(FORBIDDEN_KEY, at) != 0;
  const hash = hashOf(nameAt, nameLength);
  nameHash = hash;
  const count = keyCount - base;
  if (count < SMALL) {
    let key = keys + <usize>base * KEY_BYTES;
    const end = keys + <usize>keyCount * KEY_BYTES;
    while (key < end) {
      if (load<u32>(key) == hash && isName(key)) return fault(DUPLICATE_KEY, at) != 0;
      key += KEY_BYTES;
    }
  } else {
    if (count == SMALL && !moveToSlots(object, base)) return fault(MEMORY, at) != 0;
    if (hasSlot(object, hash)) return fault(DUPLICATE_KEY, at) != 0;
    if (!addSlot(object, hash, <u32>nameLength, <u32>nameAt)) return fault(MEMORY, at) != 0;
  }
  if (keyCount == keyCapacity && !growKeys()) return fault(MEMORY, at) != 0;
  const key = keys + <usize>keyCount * KEY_BYTES;
  store<u32>(key, hash);
  store<u32>(key, <u32>nameLength, 4);
  store<u32>(key, <u32>nameAt, 8);
  keyCount++;
  return true;
}

function isName(key: usize): bool {
  return load<usize>(key, 4) == nameLength && same(load<usize>(key, 8), nameAt, nameLength);
}

function growKeys(): bool {
  const capacity: u32 = keyCapacity == 0 ? 256 : keyCapacity * 2;
  const at = take(<usize>capacity * KEY_BYTES);
  if (at == 0) return false;
  memory.copy(at, keys, <usize>keyCapacity * KEY_BYTES);
  keys = at;
  keyCapacity = capacity;
  return true;
}

function moveToSlots(object: u64, base: u32): bool {
  for (let i = base; i < keyCount; i++) {
    const key = keys + <usize>i * KEY_BYTES;
    if (!addSlot(object, load<u32>(key), load<u32>(key, 4), load<u32>(key, 8))) return false;
  }
  return true;
}

// @ts-ignore: decorator
@inline
function slotOf(index: u32): usize {
  return slots + (<usize>(index & slotMask) * SLOT_BYTES);
}

// @ts-ignore: decorator
@inline
function placeOf(object: u64, hash: u32): u32 {
  return hash ^ (<u32>object * 0x9e3779b1);
}

function hasSlot(object: u64, hash: u32): bool {
  let index = placeOf(object, hash);
  let slot = slotOf(index);
  while (load<u64>(slot) >= firstObject) {
    if (load<u64>(slot) == object && load<u32>(slot, 8) == hash && isName(slot + 8)) return true;
    slot = slotOf(++index);
  }
  return false;
}

function addSlot(object: u64, hash: u32, length: u32, at: u32): bool {
  if (slots == 0 || slotsUsed * 2 > slotMask) {
    if (!growSlots()) return false;
  }
  putSlot(object, hash, length, at);
  slotsUsed++;
  return true;
}

function putSlot(object: u64, hash: u32, length: u32, at: u32): void {
  let index = placeOf(object, hash);
  let slot = slotOf(index);
  while (load<u64>(slot) >= firstObject) slot = slotOf(++index);
  store<u64>(slot, object);
  store<u32>(slot, hash, 8);
  store<u32>(slot, length, 12);
  store<u32>(slot, at, 16);
}

function growSlots(): bool {
  const old = slots;
  const count: u32 = slots == 0 ? 0 : slotMask + 1;
  const next: u32 = slots == 0 ? 1024 : count * 2;
  const at = take(<usize>next * SLOT_BYTES);
  if (at == 0) return false;
  slots = at;
  slotMask = next - 1;
  for (let i: u32 = 0; i < count; i++) {
    const slot = old + <usize>i * SLOT_BYTES;
    if (load<u64>(slot) >= firstObject)
      putSlot(load<u64>(slot), load<u32>(slot, 8), load<u32>(slot, 12), load<u32>(slot, 16));
  }
  return true;
}
