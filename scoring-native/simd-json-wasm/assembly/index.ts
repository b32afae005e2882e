/** What the host calls; src/instance.ts says in TypeScript what this is. */
export { addCharacter, createCharacters } from './characters';
export {
  clearRows,
  createColumn,
  createRows,
  ENDS,
  ENTRIES,
  ENTRY_KEYS,
  ESCAPED,
  IDS_TABLE,
  OFFSETS,
  PRESENT,
  row,
  rowEnds,
  rowLines,
  rowStarts,
  setEntries,
  setMember,
  setRange,
  setTexts,
  VALUES,
} from './columns';
export { createInput } from './input';
export { internedCount, internedRecord } from './intern';
export { setLimits, setSeed } from './limits';
export { lineNumber, readLines, refuseLongLine, restartLines, setRoot } from './lines';
export {
  clearRefusals,
  createRefusals,
  refusalCodes,
  refusalColumns,
  refusalEnds,
  refusalLines,
  refusalOffsets,
  refusals,
  refusalStarts,
} from './refusal';
export { addMember, createNode } from './schema';
