import model from './service-model.json' with { type: 'json' };

interface Shape {
  readonly type: string;
  readonly required?: readonly string[];
  readonly members?: Readonly<Record<string, string>>;
  readonly member?: string;
  readonly key?: string;
  readonly value?: string;
  readonly min?: number;
  readonly max?: number;
  readonly pattern?: string;
  readonly enum?: readonly string[];
}

const SHAPES = model.shapes as Readonly<Record<string, Shape>>;
const INPUTS = model.inputs as Readonly<Record<string, string>>;

/** What the service's own model says is wrong with a request, in its words. */
export function modelProblems(operation: string, input: unknown): readonly string[] {
  const name = INPUTS[operation];
  if (name === undefined) return [`the simulator does not know ${operation}`];
  return problemsOf(name, input, '');
}

function problemsOf(name: string, value: unknown, at: string): readonly string[] {
  const shape = SHAPES[name]!;
  const failed = (constraint: string) => [
    `Value '${typeof value === 'object' ? JSON.stringify(value) : String(value)}' at '${at}' failed to satisfy constraint: ${constraint}`,
  ];
  switch (shape.type) {
    case 'structure': {
      if (!isRecord(value)) return failed('Member must be an object');
      const members = shape.members ?? {};
      return [
        ...(shape.required ?? [])
          .filter((one) => value[one] === undefined)
          .map((one) => `Value null at '${join(at, one)}' failed to satisfy constraint: Member must not be null`),
        ...Object.entries(value).flatMap(([member, own]) =>
          members[member] === undefined
            ? [`'${join(at, member)}' is no member of ${name}`]
            : problemsOf(members[member], own, join(at, member)),
        ),
      ];
    }
    case 'list':
      if (!Array.isArray(value)) return failed('Member must be a list');
      return [
        ...sized(shape, value.length, failed),
        ...value.flatMap((one, i) => problemsOf(shape.member!, one, `${at}.${i + 1}.member`)),
      ];
    case 'map':
      if (!isRecord(value)) return failed('Member must be a map');
      return [
        ...sized(shape, Object.keys(value).length, failed),
        ...Object.entries(value).flatMap(([key, own]) => [
          ...problemsOf(shape.key!, key, `${at}.key`),
          ...problemsOf(shape.value!, own, `${at}.${key}.member`),
        ]),
      ];
    case 'string':
      if (typeof value !== 'string') return failed('Member must be a string');
      return [
        ...sized(shape, [...value].length, failed),
        ...(shape.pattern === undefined || matches(shape.pattern, value)
          ? []
          : failed(`Member must satisfy regular expression pattern: ${shape.pattern}`)),
        ...(shape.enum === undefined || shape.enum.includes(value)
          ? []
          : failed(`Member must satisfy enum value set: [${shape.enum.join(', ')}]`)),
      ];
    case 'integer':
    case 'long':
      if (!Number.isSafeInteger(value)) return failed('Member must be an integer');
      return [
        ...(shape.min !== undefined && (value as number) < shape.min
          ? failed(`Member must have value greater than or equal to ${shape.min}`)
          : []),
        ...(shape.max !== undefined && (value as number) > shape.max
          ? failed(`Member must have value less than or equal to ${shape.max}`)
          : []),
      ];
    case 'boolean':
      return typeof value === 'boolean' ? [] : failed('Member must be true or false');
    case 'timestamp':
    case 'double':
    case 'float':
      return typeof value === 'number' ? [] : failed('Member must be a number');
    default:
      throw new Error(`the model has a ${shape.type}, of which the simulator knows nothing`);
  }
}

function sized(
  { min, max }: Shape,
  size: number,
  failed: (constraint: string) => readonly string[],
): readonly string[] {
  if (min !== undefined && size < min) return failed(`Member must have length greater than or equal to ${min}`);
  if (max !== undefined && size > max) return failed(`Member must have length less than or equal to ${max}`);
  return [];
}

const patterns = new Map<string, RegExp>();

/** As Java matches: whole, and `.` takes no line end. */
function matches(pattern: string, value: string): boolean {
  let compiled = patterns.get(pattern);
  if (compiled === undefined) {
    const known = pattern.replaceAll('\\p{Alnum}', 'A-Za-z0-9');
    compiled = new RegExp(`^(?:${known})$`, known.includes('\\p{') ? 'u' : '');
    patterns.set(pattern, compiled);
  }
  return compiled.test(value);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function join(at: string, member: string): string {
  return at === '' ? member : `${at}.${member}`;
}
