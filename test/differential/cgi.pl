# Says what CGI.pm holds: cgi.pl NAME...
use strict;
use warnings;
use CGI ();
use JSON::PP ();

$CGI::LIST_CONTEXT_WARN = 0;
open(my $in, '<&', \*STDIN) or die;
binmode($_) for $in, \*STDOUT;
$| = 1;
my $json = JSON::PP->new->utf8->canonical;

sub answer {
    my ($type, $query, $body) = @_;
    local %ENV = (%ENV, REQUEST_METHOD => 'POST', QUERY_STRING => $query, CONTENT_LENGTH => length $body, GATEWAY_INTERFACE => 'CGI/1.1');
    $ENV{CONTENT_TYPE} = $type if defined $type;
    open(my $fh, '<:raw', \$body) or die;
    local *STDIN = $fh;
    CGI::initialize_globals();
    my $q = CGI->new;
    my %out;
    for my $name (@ARGV) {
        my @body = map { unpack 'H*', "$_" } grep { defined && !ref } $q->multi_param($name);
        my @query = map { unpack 'H*', "$_" } grep { defined } $q->url_param($name);
        $out{body}{$name} = \@body if @body;
        $out{query}{$name} = \@query if @query;
    }
    if (defined $type && $type =~ m{\Aapplication/([\w.-]+\+)?json\s*(;|\z)}i) {
        my $read = eval { $json->decode($body) };
        for my $name (@ARGV) {
            my $v = ref $read eq 'HASH' ? $read->{$name} : undef;
            next if !defined $v || ref $v;
            utf8::encode($v);
            $out{json}{$name} = [unpack 'H*', $v];
        }
    }
    return \%out;
}

while ((read($in, my $head, 12) // 0) == 12) {
    my @parts;
    for my $n (unpack 'l>3', $head) {
        my $s = $n < 0 ? undef : '';
        read($in, $s, $n) if $n > 0;
        push @parts, $s;
    }
    my $out = eval { local $SIG{__WARN__} = sub { }; answer(@parts) } || { error => "$@" };
    my $text = $json->encode($out);
    print pack('l>', length $text), $text;
}
