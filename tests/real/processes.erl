#!/usr/bin/env escript
%% Erlang: processes on scheduler threads, messages, timers, collections, files, ports, TCP.
-mode(compile).

main(_) ->
    Self = self(),
    Work = fun(I) -> lists:foldl(fun(N, Sum) -> (Sum * 31 + N) rem 1000003 end, I, lists:seq(1, 20000)) end,
    Pids = [spawn_link(fun() -> Self ! {self(), Work(I)} end) || I <- lists:seq(1, 300)],
    io:format("~p~n", [lists:sum([receive {Pid, Found} -> Found end || Pid <- Pids])]),
    Ring = lists:foldl(fun(_, Next) -> spawn(fun() -> pass(Next) end) end, Self, lists:seq(1, 1000)),
    Ring ! {token, 0},
    receive {token, Hops} -> io:format("~p hops~n", [Hops]) end,
    Lists = [length(lists:sort([erlang:phash2({I, N}) || N <- lists:seq(1, 20000)])) || I <- lists:seq(1, 20)],
    io:format("~p sorted~n", [lists:sum(Lists)]),
    receive never -> ok after 20 -> io:format("timed out~n") end,
    {ok, Listener} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Listener),
    spawn_link(fun() -> accept(Listener) end),
    [spawn_link(fun() -> Self ! {echoed, echo(Port, I)} end) || I <- lists:seq(1, 30)],
    io:format("~p echoed~n", [lists:sum([receive {echoed, Size} -> Size end || _ <- lists:seq(1, 30)])]),
    io:format("~s", [os:cmd("echo child")]),
    {ok, Text} = file:read_file(escript:script_name()),
    io:format("~p~n", [byte_size(Text) > 1000]),
    {Pid, Reference} = spawn_monitor(fun() -> exit(on_purpose) end),
    receive {'DOWN', Reference, process, Pid, Reason} -> io:format("~p~n", [Reason]) end.

pass(Next) ->
    receive {token, Hops} -> Next ! {token, Hops + 1} end.

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Owner = spawn(fun() -> receive go -> serve(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Owner),
    Owner ! go,
    accept(Listener).

serve(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Data} -> ok = gen_tcp:send(Socket, Data), serve(Socket);
        {error, closed} -> ok
    end.

echo(Port, I) ->
    {ok, Socket} = gen_tcp:connect("127.0.0.1", Port, [binary, {active, false}]),
    Data = binary:copy(<<I>>, 1000 * I),
    ok = gen_tcp:send(Socket, Data),
    {ok, Data} = gen_tcp:recv(Socket, byte_size(Data)),
    ok = gen_tcp:close(Socket),
    byte_size(Data).
