# Says what Rack's request, the base of Rails and Sinatra, holds: rack.rb NAME...
require 'rack'
require 'json'
require 'stringio'

def readings(from, name)
  value = name.delete(']').split('[').inject(from) { |v, step| v.is_a?(Hash) ? v[step] : nil }
  list = value.is_a?(Array) ? [value.first, value.last] : [value]
  list.select { |v| v.is_a?(String) }.map { |v| v.unpack1('H*') }
end

def answer(type, query, body)
  env = { 'REQUEST_METHOD' => 'POST', 'PATH_INFO' => '/', 'QUERY_STRING' => query, 'CONTENT_LENGTH' => body.bytesize.to_s,
          'rack.input' => StringIO.new(body), 'rack.errors' => $stderr, 'rack.url_scheme' => 'http', 'SERVER_NAME' => 'x', 'SERVER_PORT' => '80' }
  env['CONTENT_TYPE'] = type if type
  r = Rack::Request.new(env)
  # Each by itself: an application may read the one where the other is broken.
  all = { 'query' => -> { r.GET }, 'body' => -> { r.POST }, 'both' => -> { r.params } }
  all['json'] = -> { JSON.parse(body) } if type.to_s =~ %r{\Aapplication/([\w.-]+\+)?json\s*(;|\z)}i
  out = {}
  all.each do |source, read|
    from = read.call
    ARGV.each do |name|
      list = source == 'json' && from.is_a?(Hash) ? [from[name]].select { |v| [String, Integer, Float].include?(v.class) }.map { |v| v.to_s.unpack1('H*') } : readings(from, name)
      (out[source] ||= {})[name] = list unless list.empty?
    end
  rescue StandardError => e
    out['error'] = "#{source}: #{e.class}: #{e.message}".b.inspect
  end
  out
end

$stdin.binmode
$stdout.binmode
while (head = $stdin.read(12)) && head.bytesize == 12
  type, query, body = head.unpack('l>3').map { |n| n.negative? ? nil : n.zero? ? ''.b : $stdin.read(n) }
  text = JSON.generate(answer(type, query, body))
  $stdout.write([text.bytesize].pack('l>'), text)
  $stdout.flush
end
