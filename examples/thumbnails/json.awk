# Reads JSON in plain awk, a byte at a time (run it with LC_ALL=C): enough for a Debian machine with nothing on it.

# Reads a file into V: V["a.b"], V["list.0.a"], V["list.length"].
function read_json(file,   line) {
    split("", V)
    json = ""; at = 1
    while ((getline line < file) > 0) json = json line "\n"
    close(file)
    value("")
}

# Reads the value of `json` that begins at `at` into V[name], or below it.
function value(name,   c, key, n) {
    space()
    c = substr(json, at, 1)
    if (c == "\"") { V[name] = string(); return }
    if (c == "{" || c == "[") {
        at++; space(); n = 0
        while (at <= length(json) && !index("]}", substr(json, at, 1))) {
            key = n++
            if (c == "{") { key = string(); space(); at++ }
            value(name == "" ? key : name "." key)
            space()
            if (substr(json, at, 1) == ",") { at++; space() }
        }
        at++
        if (c == "[") V[name ".length"] = n
        return
    }
    match(substr(json, at), /^[-+.0-9A-Za-z]*/)
    V[name] = substr(json, at, RLENGTH)
    at += RLENGTH > 0 ? RLENGTH : 1
}

function space() {
    while (substr(json, at, 1) ~ /[ \t\r\n]/) at++
}

function string(   out, c, code) {
    for (at++; at <= length(json) && (c = substr(json, at, 1)) != "\""; at++) {
        if (c != "\\") { out = out c; continue }
        c = substr(json, ++at, 1)
        if (c == "u") {
            code = hex(substr(json, at + 1, 4)); at += 4
            if (code >= 55296 && code < 56320 && substr(json, at + 1, 2) == "\\u") {
                code = 65536 + (code - 55296) * 1024 + hex(substr(json, at + 3, 4)) - 56320; at += 6
            }
            out = out utf8(code)
        } else out = out (c == "n" ? "\n" : c == "t" ? "\t" : c == "r" ? "\r" : c == "b" || c == "f" ? " " : c)
    }
    at++
    return out
}

function hex(digits,   i, n) {
    for (i = 1; i <= length(digits); i++) n = n * 16 + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
    return n
}

function utf8(code) {
    if (code < 128) return sprintf("%c", code)
    if (code < 2048) return sprintf("%c%c", 192 + code / 64, 128 + code % 64)
    if (code < 65536) return sprintf("%c%c%c", 224 + code / 4096, 128 + int(code / 64) % 64, 128 + code % 64)
    return sprintf("%c%c%c%c", 240 + code / 262144, 128 + int(code / 4096) % 64, 128 + int(code / 64) % 64, 128 + code % 64)
}
