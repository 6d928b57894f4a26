-- `http-request lua.scopewright URL`: asks the gateway at URL about the request.
--
-- Allowed: sets the identity headers, and the variable txn.scopewright to "allowed".
-- Refused: answers with the gateway's status and challenge. The request ends here.
-- No answer: 503.

local TIMEOUT_MS = 5000

-- Passed on to the caller. Everything else of the gateway's answer stays here.
local PASSED_ON = { "www-authenticate", "dpop-nonce", "retry-after", "cache-control", "content-type" }

local function refuse(txn, status, headers, body)
    local reply = txn:reply({ status = status })
    for _, name in ipairs(PASSED_ON) do
        local values = headers and headers[name]
        for index = 0, values and #values or -1 do
            reply:add_header(name, values[index])
        end
    end
    if status == 503 and not (headers and headers["retry-after"]) then
        reply:add_header("retry-after", "1")
    end
    if body and body ~= "" then
        reply:set_body(body)
    end
    txn:done(reply)
end

-- HAProxy's tables of headers count from 0; those of its HTTP client from 1.
local function add(asked, headers, name)
    local values = headers[name]
    if values == nil then
        return
    end
    asked[name] = {}
    for index = 0, #values do
        -- Each value of its own: the gateway refuses a header that was sent twice.
        table.insert(asked[name], values[index])
    end
end

core.register_action("scopewright", { "http-req" }, function(txn, url)
    local headers = txn.http:req_get_headers()
    local asked = {
        -- The path as it was sent. HAProxy's `path` and `pathq` decode nothing.
        ["x-original-uri"] = { txn.f:pathq() },
        ["x-original-method"] = { txn.f:method() },
    }
    add(asked, headers, "authorization")
    add(asked, headers, "dpop")
    -- The gateway refuses these: some frameworks take another method from them.
    add(asked, headers, "x-http-method-override")
    add(asked, headers, "x-http-method")
    add(asked, headers, "x-method-override")

    local answer = core.httpclient():get({ url = url, headers = asked, timeout = TIMEOUT_MS })
    if answer == nil or answer.status == nil then
        return refuse(txn, 503)
    end
    if answer.status ~= 200 then
        local passed = answer.status == 400 or answer.status == 401 or answer.status == 403
        return refuse(txn, passed and answer.status or 503, answer.headers, passed and answer.body or nil)
    end
    for name, values in pairs(answer.headers) do
        if name:sub(1, 7) == "x-auth-" then
            txn.http:req_set_header(name, values[0])
            -- HAProxy adds no header for which its buffer has no room, and reports nothing.
            local set = txn.http:req_get_headers()[name]
            if set == nil or set[0] ~= values[0] then
                return refuse(txn, 431)
            end
        elseif name == "dpop-nonce" then
            txn:set_var("txn.scopewright_nonce", values[0])
        end
    end
    txn:set_var("txn.scopewright", "allowed")
end, 1)
