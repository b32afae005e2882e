import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * Alibaba's production GPU trace cluster-trace-gpu-v2023 (`openb_*`), published with "Beware of Fragmentation", USENIX ATC 2023. It is not part
 * of the project; it is read from `../shared/data/gpu-trace-2023` beside the clone, or from where `--trace` says.
 */

export const DEFAULT_TRACE = fileURLToPath(new URL('../../../../shared/data/gpu-trace-2023', import.meta.url));

export interface TraceNode {
  readonly name: string;
  readonly model: string;
  readonly gpuMilli: number;
  readonly cpuMilli: number;
  readonly memoryMib: number;
}

export interface TracePod {
  readonly name: string;
  /** Of all its GPUs together: 470 for a share of one, 8000 for eight. */
  readonly gpuMilli: number;
  readonly cpuMilli: number;
  readonly memoryMib: number;
  /** Types that it may run on; empty: any. */
  readonly models: readonly string[];
  readonly qos: string;
  readonly createdS: number;
  /** undefined: it was deleted before it ever ran. */
  readonly scheduledS: number | undefined;
  readonly deletedS: number;
}

export interface GpuTrace {
  readonly nodes: readonly TraceNode[];
  readonly pods: readonly TracePod[];
}

/** The trace with one of its two lists of pods; undefined where the folder is not there. */
export function readTrace(folder: string, list: 'default' | 'gpuspec33'): GpuTrace | undefined {
  const nodes = `${folder}/openb_node_list_gpu_node.csv`;
  const pods = `${folder}/openb_pod_list_${list}.csv`;
  if (!existsSync(nodes) || !existsSync(pods)) return undefined;
  return { nodes: parseNodes(readFileSync(nodes, 'utf8')), pods: parsePods(readFileSync(pods, 'utf8')) };
}

export function parseNodes(text: string): readonly TraceNode[] {
  return rowsOf(text, ['sn', 'cpu_milli', 'memory_mib', 'gpu', 'model']).map((field) => ({
    name: field('sn'),
    model: field('model'),
    gpuMilli: numberOf(field('gpu')) * 1000,
    cpuMilli: numberOf(field('cpu_milli')),
    memoryMib: numberOf(field('memory_mib')),
  }));
}

const POD_FIELDS = [
  'name',
  'cpu_milli',
  'memory_mib',
  'num_gpu',
  'gpu_milli',
  'gpu_spec',
  'qos',
  'creation_time',
  'deletion_time',
  'scheduled_time',
];

export function parsePods(text: string): readonly TracePod[] {
  return rowsOf(text, POD_FIELDS).map((field) => ({
    name: field('name'),
    // gpu_milli is of each GPU: a share where there is one, 1000 where there are several.
    gpuMilli: numberOf(field('num_gpu')) * numberOf(field('gpu_milli')),
    cpuMilli: numberOf(field('cpu_milli')),
    memoryMib: numberOf(field('memory_mib')),
    models: field('gpu_spec') === '' ? [] : [...new Set(field('gpu_spec').split('|'))],
    qos: field('qos'),
    createdS: numberOf(field('creation_time')),
    scheduledS: field('scheduled_time') === '' ? undefined : numberOf(field('scheduled_time')),
    deletedS: numberOf(field('deletion_time')),
  }));
}

/** Plain comma-separated values, as the trace has them: no quotes. A reader of one line's fields by name. */
function rowsOf(text: string, wanted: readonly string[]): readonly ((name: string) => string)[] {
  const [head, ...lines] = text.split('\n').filter((line) => line !== '');
  const columns = head?.split(',') ?? [];
  const missing = wanted.filter((name) => !columns.includes(name));
  if (missing.length > 0) throw new Error(`the trace has no column ${missing.join(', ')}`);
  const at = new Map(columns.map((name, index) => [name, index]));
  return lines.map((line, number) => {
    const cells = line.split(',');
    if (cells.length !== columns.length)
      throw new Error(`line ${number + 2} of the trace has ${cells.length} fields, not ${columns.length}`);
    return (name) => cells[at.get(name)!]!;
  });
}

function numberOf(text: string): number {
  const value = Number(text);
  if (text === '' || !Number.isFinite(value)) throw new Error(`the trace has "${text}" where a number belongs`);
  return value;
}
