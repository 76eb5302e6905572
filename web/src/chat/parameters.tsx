/** The panel for what holds for this conversation: persona, system prompt, sampling. */
import { useState } from "preact/hooks";
import { Button, Field, Select } from "../shell/parts";
import { useChatStrings } from "../strings-chat";
import { KNOBS, readKnob, withKnob, type Knob } from "./sampling";
import { SidePanel } from "./side-panel";
import type { Params, Persona, Settings } from "./types";

const LONGEST_INSTRUCTIONS = 8000;

export function ParametersPanel(props: {
  settings: Settings;
  personas: Persona[];
  onChange: (change: Settings) => void;
  onClose: () => void;
}) {
  const strings = useChatStrings();
  const { settings, personas, onChange } = props;
  const params = settings.params ?? {};
  const [round, setRound] = useState(0); // a new one empties the fields
  const persona = personas.find((one) => one.id === settings.persona_id);

  function choosePersona(id: string) {
    const chosen = personas.find((one) => one.id === id);
    onChange({
      persona_id: chosen?.id ?? null,
      ...(chosen?.model ? { model: chosen.model } : {}),
      ...(chosen?.params ? { params: chosen.params } : {}),
    });
    setRound(round + 1);
  }

  return (
    <SidePanel
      title={strings.parameters}
      onClose={props.onClose}
      foot={
        <Button
          kind="quiet"
          disabled={Object.keys(params).length === 0 && !settings.instructions && !persona}
          onClick={() => {
            onChange({ params: {}, instructions: "", persona_id: null });
            setRound(round + 1);
          }}
        >
          {strings.resetParameters}
        </Button>
      }
    >
      <p class="note">{strings.parametersHint}</p>
      {personas.length > 0 && (
        <Select
          label={strings.persona}
          value={persona?.id ?? ""}
          options={[{ value: "", label: strings.noPersona }, ...personas.map((one) => ({ value: one.id, label: one.name }))]}
          onChange={choosePersona}
          hint={persona ? excerpt(persona.instructions) : undefined}
        />
      )}
      <Field
        label={strings.systemPrompt}
        rows={5}
        maxLength={LONGEST_INSTRUCTIONS}
        value={settings.instructions ?? ""}
        onInput={(instructions) => onChange({ instructions })}
        hint={strings.systemPromptHint}
        placeholder={strings.systemPromptExample}
      />
      <h3>{strings.sampling}</h3>
      {KNOBS.map((knob) => (
        <KnobField
          key={`${knob.name}-${round}`}
          knob={knob}
          value={params[knob.name]}
          onChange={(value) => onChange({ params: withKnob(params, knob.name, value) })}
        />
      ))}
    </SidePanel>
  );
}

const excerpt = (text: string) => (text.length > 160 ? `${text.slice(0, 160)}\u2026` : text);

function KnobField(props: { knob: Knob; value: Params[keyof Params]; onChange: (value: number | undefined) => void }) {
  const strings = useChatStrings();
  const { knob, value } = props;
  const { title, hint } = strings.knobs[knob.name];
  const [text, setText] = useState(value === undefined ? "" : String(value));
  const read = readKnob(knob, text);
  const type = (next: string) => {
    setText(next);
    const number = readKnob(knob, next);
    if (number !== null) props.onChange(number);
  };
  return (
    <div class={`knob${knob.slider ? " with-slider" : ""}${read === undefined ? " unset" : ""}`}>
      <Field
        label={title}
        value={text}
        onInput={type}
        inputMode="numeric"
        placeholder={strings.modelDefault}
        hint={hint}
        error={read === null ? strings.between(knob.min, knob.max) : undefined}
      />
      {knob.slider && (
        <input
          type="range"
          aria-label={title}
          min={knob.min}
          max={knob.max}
          step={knob.step}
          value={read ?? knob.usual}
          onInput={(event) => type(event.currentTarget.value)}
        />
      )}
    </div>
  );
}
