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
    # the template engine of the package under test knows "a if b else c" at the top of an expression, not in parentheses
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
}
chats = [
    [("user", "Hi")],
    [("system", "Be brief."), ("user", " What <b>is</b> 2 & 2? "), ("assistant", "<think>hm</think>\n\nIt's 4.\n"), ("user", "日本 \"quoted\"?")],
]
env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])


def fail(text):
    raise ValueError(text)


env.globals["raise_exception"] = fail
out = []
for name, template in templates.items():
    for chat in chats:
        messages = [{"role": r, "content": c} for r, c in chat]
        for prompt in (False, True):
            text = env.from_string(template).render(messages=messages, add_generation_prompt=prompt, bos_token="<|bos|>", eos_token="<|bos|>")
            out.append({"name": name, "template": template, "messages": messages, "prompt": prompt, "text": text})
pathlib.Path(__file__).with_name("chat.json").write_text(json.dumps(out, indent=1) + "\n")
