import { keepQuoted } from './bytes';
import { take } from './heap';
import { createInterner, find, intern, internedCount, NO_ID } from './intern';
import { isConstructorText } from './keys';

/**
 * A schema in memory: a tree of nodes (the objects that paths go through), each with members that lead to a column or to another node.
 * Built once by the host, before the first line; 0 says that there is no memory.
 */

/** What a member leads to. NODE, or the type of its column. */
export const NUMBER_TYPE: u32 = 0;
export const INTEGER_TYPE: u32 = 1;
export const BOOLEAN_TYPE: u32 = 2;
export const ID_TYPE: u32 = 3;
export const TEXT_TYPE: u32 = 4;
export const TIME_TYPE: u32 = 5;
export const NUMBERS_TYPE: u32 = 6;
export const NODE_TYPE: u32 = 7;
/** A key that the schema does not know but lines have: its value is skipped. */
export const SKIPPED_TYPE: u32 = 8;

/** Such keys a node remembers, so that they are expected as those of the schema are. */
const SKIPPED_KEYS: u32 = 64;
const SKIPPED_KEY_BYTES: usize = 64;

/** A member. Its text is kept as it stands in the input, `"name":`, and compared with what is expected next. */
export const TEXT: usize = 0;
export const TEXT_LENGTH: usize = 4;
export const TYPE: usize = 8;
/** Its node or column. */
export const TARGET: usize = 12;
/** The member that followed when last seen. */
export const NEXT: usize = 16;
export const REQUIRED: usize = 20;
/** The line that held it last. */
export const SEEN: usize = 24;
/** Is its name `constructor`? */
export const IS_CONSTRUCTOR: usize = 32;
const MEMBER_BYTES: usize = 40;

/** A node. */
const NAMES: usize = 0;
const FIRST: usize = 4;
/** Where the line has it, and which line that was. */
export const NODE_AT: usize = 8;
export const PARENT: usize = 12;
export const NODE_LINE: usize = 16;
/** The first column below it: the one that is at fault where the value is no object. */
export const FIRST_COLUMN: usize = 24;
/** May `null` stand for it? */
export const NODE_NULL: usize = 28;
/** Is it below the key `constructor`? */
export const UNDER_CONSTRUCTOR: usize = 32;
/** The member that it began with when last seen. */
export const EXPECTED: usize = 36;
const CAPACITY: usize = 40;
const NODE_BYTES: usize = 48;

/** A node with room for `capacity` members. */
export function createNode(parent: usize, capacity: u32, firstColumn: u32, nullable: bool, underConstructor: bool): usize {
  const node = take(NODE_BYTES);
  const names = createInterner(capacity + SKIPPED_KEYS);
  const members = take(<usize>(capacity + SKIPPED_KEYS) * MEMBER_BYTES);
  if (node == 0 || names == 0 || members == 0) return 0;
  store<usize>(node, names, NAMES);
  store<usize>(node, members, FIRST);
  store<usize>(node, members, EXPECTED);
  store<usize>(node, parent, PARENT);
  store<u32>(node, firstColumn, FIRST_COLUMN);
  store<u32>(node, nullable, NODE_NULL);
  store<u32>(node, underConstructor, UNDER_CONSTRUCTOR);
  store<u32>(node, capacity + SKIPPED_KEYS, CAPACITY);
  return node;
}

/** Adds a member to a node; its name lies at [name, name + length). Expected are members in the order in which they are added. */
export function addMember(node: usize, name: usize, length: usize, type: u32, target: usize, required: bool): usize {
  const id = intern(load<usize>(node, NAMES), name, length, name);
  const text = take(length + 3);
  if (id == NO_ID || text == 0) return 0;
  keepQuoted(name, length, text);
  const first = load<usize>(node, FIRST);
  const member = first + <usize>id * MEMBER_BYTES;
  store<usize>(member, text, TEXT);
  store<usize>(member, length + 3, TEXT_LENGTH);
  store<u32>(member, type, TYPE);
  store<usize>(member, target, TARGET);
  store<u32>(member, required, REQUIRED);
  store<u32>(member, isConstructorText(text + 1, length), IS_CONSTRUCTOR);
  store<usize>(member, first, NEXT);
  if (id > 0 && type != SKIPPED_TYPE) store<usize>(member - MEMBER_BYTES, member, NEXT);
  return member;
}

/** The member of that name; 0 where the schema knows none. */
export function memberNamed(node: usize, name: usize, length: usize): usize {
  const id = find(load<usize>(node, NAMES), name, length);
  return id == NO_ID ? 0 : load<usize>(node, FIRST) + <usize>id * MEMBER_BYTES;
}

/** Remembers a key of lines as a member whose value is skipped; 0 where the node does not take it. */
export function addSkipped(node: usize, name: usize, length: usize): usize {
  if (length > SKIPPED_KEY_BYTES || internedCount(load<usize>(node, NAMES)) == load<u32>(node, CAPACITY)) return 0;
  return addMember(node, name, length, SKIPPED_TYPE, 0, false);
}
