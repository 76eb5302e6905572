/** The numbers that steer sampling: what each may be, and what was typed as one. Pure. */
import type { Params } from "./types";

export interface Knob {
  name: keyof Params;
  min: number;
  max: number;
  step: number; // 1: whole numbers only
  usual: number; // where its slider stands before it is set
  slider: boolean;
}

export const KNOBS: readonly Knob[] = [
  { name: "temperature", min: 0, max: 2, step: 0.05, usual: 0.7, slider: true },
  { name: "top_p", min: 0.05, max: 1, step: 0.05, usual: 0.95, slider: true },
  { name: "top_k", min: 1, max: 1000, step: 1, usual: 50, slider: false },
  { name: "repetition_penalty", min: 0.5, max: 2, step: 0.05, usual: 1, slider: true },
  { name: "max_tokens", min: 1, max: 32_768, step: 1, usual: 1024, slider: false },
  { name: "seed", min: 0, max: 2_147_483_647, step: 1, usual: 0, slider: false },
];

/** The number typed for a knob; undefined for an empty field, null for what it cannot be. */
export function readKnob(knob: Knob, text: string): number | undefined | null {
  const trimmed = text.trim().replace(",", ".");
  if (trimmed === "") return undefined;
  if (!/^\d+(\.\d+)?$/.test(trimmed)) return null;
  const value = Number(trimmed);
  if (value < knob.min || value > knob.max || (knob.step === 1 && !Number.isInteger(value))) return null;
  return value;
}

/** Parameters with one of them set, or left to the model again. */
export function withKnob(params: Params, name: keyof Params, value: number | undefined): Params {
  const { [name]: _, ...rest } = params;
  return value === undefined ? rest : { ...rest, [name]: value };
}
