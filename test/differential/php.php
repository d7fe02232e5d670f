<?php
// Says what $_GET, $_POST and $_REQUEST hold under the names of $_SERVER['WATCHED'],
// as php-cgi filled them.
function readings(array $from, string $name): array
{
    $value = $from;
    foreach (explode('[', str_replace(']', '', $name)) as $step) {
        if (!is_array($value) || !array_key_exists($step, $value)) {
            return [];
        }
        $value = $value[$step];
    }
    if (is_array($value)) { // a list counts by its first and its last, a map is no value
        $value = array_is_list($value) && $value ? [reset($value), end($value)] : [];
    }
    return array_map('bin2hex', array_filter((array) $value, 'is_string'));
}

$all = ['query' => $_GET, 'body' => $_POST, 'both' => $_REQUEST];
if (preg_match('~^application/([\w.-]+\+)?json\s*(;|$)~i', $_SERVER['CONTENT_TYPE'] ?? '')) {
    $json = json_decode(file_get_contents('php://input'), true);
    $all['json'] = is_array($json) ? $json : [];
}
$out = [];
foreach ($all as $source => $from) {
    foreach (explode(' ', $_SERVER['WATCHED']) as $name) {
        $list = readings($from, $name);
        if ($source === 'json') {
            $v = $from[$name] ?? null;
            $list = is_string($v) || is_int($v) || is_float($v) ? [bin2hex((string) $v)] : [];
        }
        if ($list) {
            $out[$source][$name] = array_values($list);
        }
    }
}
echo json_encode($out ?: new stdClass);
