export type { Batch, ColumnValues, RefusedLines } from './batch.ts';
export type { Ids } from './ids.ts';
export { ColumnReader, type ReaderOptions } from './reader.ts';
export { REASONS, type Reason, type Refusal } from './reason.ts';
export {
  type BooleanColumn,
  type Column,
  type ColumnType,
  type IdColumn,
  type IntegerColumn,
  type NumberColumn,
  type NumbersColumn,
  type Schema,
  SchemaError,
  type TextColumn,
  type TextLimits,
  type TimeColumn,
} from './schema.ts';
