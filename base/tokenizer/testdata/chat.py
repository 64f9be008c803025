"""Makes chat.json: templates in the manner of common model families, and what jinja2 as set up by transformers makes of them."""
import json
import pathlib

from jinja2.sandbox import ImmutableSandboxedEnvironment

templates = {
    "headers": "{{- bos_token }}{% for m in messages %}{% set text = '<|head|>' + m['role'] + '<|/head|>\n\n' + m['content'] | trim + '<|eot|>' %}"
               "{{ text }}{% endfor %}{% if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\n\n' }}{% endif %}",
    "tools": "{%- if tools is defined and tools %}\n    {{- tools | tojson }}\n{%- else %}\n"
             "    {%- if messages[0].role == 'system' %}\n        {{- '<s>' + messages[0]['content'] + '</s>\n' }}\n    {%- else %}\n"
             "        {{- '<s>default</s>\n' }}\n    {%- endif %}\n{%- endif %}\n{%- for message in messages %}\n"
             "    {%- if (message.role == 'user') or (message.role == 'system' and not loop.first) or (message.role == 'assistant' and not message.tool_calls) %}\n"
             "        {{- '<' + message.role + '>' + message.content + '</>' + '\n' }}\n    {%- endif %}\n{%- endfor %}\n"
             "{%- if add_generation_prompt %}\n    {{- '<assistant>\n' }}\n{%- endif %}\n",
    "alternating": "{%- if messages[0]['role'] == 'system' %}{% set sys = messages[0]['content'] %}{% set rest = messages[1:] %}"
                   "{% else %}{% set sys = '' %}{% set rest = messages %}{% endif %}{{ bos_token }}"
                   "{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
                   "{% if m['role'] == 'user' %}{% if loop.first and sys %}{% set text = sys ~ '\n\n' ~ m['content'] %}{% else %}{% set text = m['content'] %}{% endif %}{{ '[INST] ' ~ text ~ ' [/INST]' }}"
                   "{% else %}{{ ' ' + m.content.strip() + eos_token }}{% endif %}{% endfor %}",
    "namespace": "{% set ns = namespace(last=-1, think=false) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
                 "{% for m in messages %}{% set c = m.content %}{% if '</think>' in c and loop.index0 < ns.last %}{% set c = c.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
                 "{{ m.role | upper }}: {{ c }}{{ '' if loop.last else '\n' }}{% endfor %}",
    "macro": "{% macro turn(role, text, end='~') -%}\n<{{ role }}> {{ text }}{{ end }}\n{%- endmacro %}\n"
             "{% for m in messages -%}\n  {{ turn(m.role, m.content) }}\n{% endfor %}\n{% if add_generation_prompt %}{{ turn('assistant', '', end='') }}{% endif %}\n",
    "loops": "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{% for i in range(loop.index) %}#{% endfor %} {{ m['content'] | length }}"
             "{% if not loop.last %}, {% endif %}{% endfor %}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
             "{{ messages | map(attribute='role') | join('/') }}{{ messages[-1].role }}",
    "lines": "{% for m in messages %}\n    {% if m.role == 'user' %}\nQ: {{ m.content }}\n    {% else %}\nA: {{ m.content }}\n    {% endif %}\n{% endfor %}\n{# done #}\nend\n",
    # in the manner of Llama 3: a preamble with the date, the system message taken off the front
    "dated": "{{- bos_token }}\n{%- if not date_string is defined %}\n    {%- set date_string = '26 Jul 2024' %}\n{%- endif %}\n"
             "{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content'] | trim %}\n    {%- set messages = messages[1:] %}\n"
             "{%- else %}\n    {%- set system_message = '' %}\n{%- endif %}\n{{- '<h>system</h>\n\n' }}\n{{- 'Today Date: ' + date_string + '\n\n' }}\n"
             "{{- system_message }}\n{{- '<end>' }}\n{%- for message in messages %}\n"
             "    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}\n"
             "        {{- '<h>' + message['role'] + '</h>\n\n' + message['content'] | trim + '<end>' }}\n"
             "    {%- elif 'tool_calls' in message %}\n        {{- raise_exception('no tools') }}\n    {%- endif %}\n{%- endfor %}\n"
             "{%- if add_generation_prompt %}\n    {{- '<h>assistant</h>\n\n' }}\n{%- endif %}\n",
    # of Qwen: messages seen from the end to find the last question, thoughts cut out of earlier answers
    "thoughts": "{%- set ns = namespace(multi_step=true, last=messages|length - 1) %}\n{%- for message in messages[::-1] %}\n"
                "    {%- set index = (messages|length - 1) - loop.index0 %}\n"
                "    {%- if ns.multi_step and message.role == 'user' and message.content is string and not (message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}\n"
                "        {%- set ns.multi_step = false %}\n        {%- set ns.last = index %}\n    {%- endif %}\n{%- endfor %}\n"
                "{%- for message in messages %}\n    {%- if message.content is string %}\n        {%- set content = message.content %}\n    {%- else %}\n        {%- set content = '' %}\n    {%- endif %}\n"
                "    {%- if message.role == 'assistant' %}\n        {%- set reasoning = '' %}\n        {%- if '</think>' in content %}\n"
                "            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}\n"
                "            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}\n        {%- endif %}\n"
                "        {%- if loop.index0 > ns.last and (loop.last or (not loop.last and reasoning)) %}\n            {{- '<im>' + message.role + '\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}\n"
                "        {%- else %}\n            {{- '<im>' + message.role + '\\n' + content }}\n        {%- endif %}\n"
                "    {%- else %}\n        {{- '<im>' + message.role + '\\n' + content }}\n    {%- endif %}\n    {{- '</im>\\n' }}\n{%- endfor %}\n"
                "{%- if add_generation_prompt %}\n    {{- '<im>assistant\\n' }}\n    {%- if enable_thinking is defined and enable_thinking is false %}\n        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}",
    # of Mistral: the system message goes into the last question, roles are counted and checked
    "last question": "{%- if messages[0][\"role\"] == \"system\" %}\n    {%- set system_message = messages[0][\"content\"] %}\n    {%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%- set loop_messages = messages %}\n{%- endif %}\n"
                     "{%- if not tools is defined %}\n    {%- set tools = none %}\n{%- endif %}\n{%- set user_messages = loop_messages | selectattr(\"role\", \"equalto\", \"user\") | list %}\n"
                     "{%- set ns = namespace(index=0) %}\n{%- for message in loop_messages %}\n    {%- if not (message.role == \"tool\" or message.role == \"tool_results\" or (message.tool_calls is defined and message.tool_calls is not none)) %}\n"
                     "        {%- if (message[\"role\"] == \"user\") != (ns.index % 2 == 0) %}\n            {{- raise_exception(\"roles must alternate\") }}\n        {%- endif %}\n        {%- set ns.index = ns.index + 1 %}\n    {%- endif %}\n{%- endfor %}\n"
                     "{{- bos_token }}\n{%- for message in loop_messages %}\n    {%- if message[\"role\"] == \"user\" %}\n        {%- if tools is not none and (message == user_messages[-1]) %}\n            {{- \"[T]\" }}\n        {%- endif %}\n"
                     "        {%- if loop.last and system_message is defined %}\n            {{- \"[INST]\" + system_message + \"\\n\\n\" + message[\"content\"] + \"[/INST]\" }}\n        {%- else %}\n            {{- \"[INST]\" + message[\"content\"] + \"[/INST]\" }}\n        {%- endif %}\n"
                     "    {%- elif message[\"role\"] == \"assistant\" %}\n        {{- \" \" + message[\"content\"] | trim + eos_token }}\n    {%- endif %}\n{%- endfor %}\n",
    # of Gemma: another name for the assistant
    "renamed": "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
               "{{ '<turn>' + role + '\n' + message['content'] | trim + '<end>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<turn>model\n'}}{% endif %}",
    # of Gemma 3: choices within expressions, conditions over several lines
    "choices": "{{ bos_token }}\n{%- if messages[0]['role'] == 'system' -%}\n    {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}\n    {%- set loop_messages = messages[1:] -%}\n"
               "{%- else -%}\n    {%- set first_user_prefix = \"\" -%}\n    {%- set loop_messages = messages -%}\n{%- endif -%}\n{%- for message in loop_messages -%}\n"
               "    {%- if message['role'] not in ['user', 'assistant'] or (\n          message.tool_calls is defined and\n          message.tool_calls is not none\n        ) -%}\n        {{ raise_exception('roles') }}\n    {%- endif -%}\n"
               "    {{ '<turn>' + ('model' if message.role == 'assistant' else message.role) + '\n' + (first_user_prefix if loop.first else \"\") }}\n"
               "    {{- message['content'] | trim + ('' if loop.last and not add_generation_prompt else '<end>\n') }}\n{%- endfor -%}\n{{ '<turn>model\n' if add_generation_prompt }}\n",
    # of Phi and Zephyr: lines with blocks of their own, a prompt after the last message
    "phi": "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
           "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
              "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    # of DeepSeek: one pass that collects, another that writes
    "collected": "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, system_prompt='', is_first_sp=true) %}"
                 "{%- for message in messages %}{%- if message['role'] == 'system' %}{%- if ns.is_first_sp %}{% set ns.system_prompt = ns.system_prompt + message['content'] %}{% set ns.is_first_sp = false %}"
                 "{%- else %}{% set ns.system_prompt = ns.system_prompt + '\n\n' + message['content'] %}{%- endif %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system_prompt }}"
                 "{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<|User|>' + message['content']}}{%- endif %}"
                 "{%- if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<|Assistant|>' + content + '<|end|>'}}{%- endif %}{%- endfor -%}"
                 "{% if add_generation_prompt and not ns.is_tool %}{{'<|Assistant|>'}}{% endif %}",
    # of SmolLM2: a system message where there is none
    "first": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<s>system\nBe helpful<e>\n' }}{% endif %}{{'<s>' + message['role'] + '\n' + message['content'] + '<e>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}",
    # macros over parts of messages, a block that is set, JSON of what there is
    "parts": "{%- macro render(content, first=false) -%}\n{%- if content is string -%}{{ content | trim }}{%- elif content is iterable and content is not mapping -%}{%- for item in content -%}{{ item['text'] }}{%- endfor -%}{%- else -%}none{%- endif -%}{{ '!' if first else '' }}\n{%- endmacro -%}\n"
             "{%- set head %}\n{% for m in messages %}{{ m.role[0] | upper }}{{ m.role[1:] }}{{ ', ' if not loop.last }}{% endfor %}\n{% endset -%}\n{{ head | trim }}:\n"
             "{%- for m in messages %}\n{{ loop.index }}/{{ loop.length }} {{ render(m.content, loop.first) }}{{ render([{'type': 'text', 'text': 'a'}, {'text': m.role}]) }}{{ render({'a': 1}) }}\n{%- endfor %}\n"
             "{{ messages | tojson }}\n{{ {'b': [1, 2.5, none, true], 'a': {}} | tojson(indent=2) }}\n"
             "{{ messages | rejectattr('role', 'eq', 'user') | map(attribute='role') | unique | sort | join(', ') | default('none', true) }}\n",
    # loops within loops, with else, with a filter, over the pairs of a dict
    "nested": "{% for m in messages if m.role != 'system' %}{{ loop.index }}{% for c in m.content if c in 'aeiou' %}{{ c }}{{ loop.depth }}{% if loop.index > 3 %}{% break %}{% endif %}{% else %}-{% endfor %}{{ loop.revindex }}{{ loop.previtem.role if not loop.first }}{{ loop.nextitem is defined }};{% endfor %}\n"
              "{% for k, v in {'x': 1, 'y': [2, 'z']}.items() %}{{ k }}={{ v }}{{ ',' if not loop.last }}{% endfor %}{% for m in messages %}{{ loop.cycle('odd', 'even') }}{% endfor %}\n"
              "{% set x = 1 %}{% for m in messages %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}{% raw %}{{ not run }}{% endraw %}\n",
}
chats = [
    [("user", "Hi")],
    [("system", "Be brief."), ("user", " What <b>is</b> 2 & 2? "), ("assistant", "<think>hm</think>\n\nIt's 4.\n"), ("user", "日本 \"quoted\"?")],
]
env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])


def fail(text):
    raise ValueError(text)


env.globals["raise_exception"] = fail
env.filters["tojson"] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
    x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
out = []
for name, template in templates.items():
    for chat in chats:
        messages = [{"role": r, "content": c} for r, c in chat]
        for prompt in (False, True):
            text = env.from_string(template).render(messages=messages, add_generation_prompt=prompt, bos_token="<|bos|>", eos_token="<|bos|>")
            out.append({"name": name, "template": template, "messages": messages, "prompt": prompt, "text": text})
pathlib.Path(__file__).with_name("chat.json").write_text(json.dumps(out, indent=1) + "\n")
